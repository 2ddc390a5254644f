"""Which share of the matrices of well-known families the default makes prunable.

    python tests/vision/check_prunables.py [WORD]

Counted are all parameters of two dimensions or more but the first and the last layer, the tables of
embeddings and the positions that are added. It must be at least 95 % in each.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch
from check_channels import declare_operators
from torch import nn

from wfpipe.models.calling import take_nests
from wfpipe.models.unwrapping import fold
from wfpipe.pipeline.recipe.prune import PruneSettings
from wfpipe.pipeline.steps.setup import find_weights
from wfpipe.support.progress import Silent

LEAST = 0.95
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SOUND = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
TOKENS = {
    "input_ids": torch.arange(24).reshape(2, 12) % 50,
    "attention_mask": torch.ones(2, 12, dtype=torch.long),
}
ADDED = ("pos_embed", "position", "cls_token", "dist_token", "distillation_token", "mask_token",
         "masked_spec_embed")  # fmt: skip
SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 96, "num_labels": 5}  # fmt: skip


def _of_timm(name: str, **options: Any) -> nn.Module:
    network: nn.Module = import_module("timm").create_model(name, num_classes=5, **options)
    return network


def _of_transformers(name: str, task: str, **options: Any) -> nn.Module:
    transformers = import_module("transformers")
    config = getattr(transformers, f"{name}Config")(**options)
    network: nn.Module = getattr(transformers, f"{name}For{task}")(config)
    return network


IMAGE = "ImageClassification"
FAMILIES: Mapping[str, tuple[Callable[[], nn.Module], Any]] = {
    "timm DeiT": (partial(_of_timm, "deit_tiny_distilled_patch16_224", img_size=64, depth=2),
                  IMAGES),
    "timm Swin": (partial(_of_timm, "swin_tiny_patch4_window7_224", img_size=64, window_size=4,
                          embed_dim=24, depths=(2, 2, 2, 2), num_heads=(2, 2, 4, 4)), IMAGES),
    "timm ConvNeXt": (partial(_of_timm, "convnext_atto"), IMAGES),
    "transformers DeiT": (partial(_of_transformers, "DeiT", IMAGE, image_size=64, **SMALL),
                          IMAGES),
    "transformers Swin": (partial(_of_transformers, "Swin", IMAGE, image_size=64, window_size=4,
                                  embed_dim=24, depths=[2, 2], num_heads=[2, 4], num_labels=5),
                          IMAGES),
    "transformers ConvNeXt": (partial(_of_transformers, "ConvNext", IMAGE, num_labels=5,
                                      hidden_sizes=[16, 32, 48, 64], depths=[1, 1, 2, 1]), IMAGES),
    "transformers BERT": (partial(_of_transformers, "Bert", "SequenceClassification",
                                  vocab_size=50, **SMALL), TOKENS),
    "transformers wav2vec": (partial(_of_transformers, "Wav2Vec2", "SequenceClassification",
                                     conv_dim=(32,) * 7, num_conv_pos_embedding_groups=4,
                                     **SMALL), SOUND),
}  # fmt: skip


def measure(name: str, module: nn.Module, inputs: Any) -> float:
    """Print and return the share of the weights of a network that may be pruned."""
    fold(module.eval(), name)
    prunable = find_weights(take_nests(module), PruneSettings(), Silent(), inputs)
    tables = {f"{path}.weight" for path, part in module.named_modules()
              if isinstance(part, nn.Embedding)}  # fmt: skip
    matrices = {key: value.numel() for key, value in module.named_parameters()
                if sum(length > 1 for length in value.shape) > 1}  # fmt: skip
    inner = [key for key in matrices
             if key not in tables and not any(word in key for word in ADDED)]  # fmt: skip
    layers = [key for key in inner if isinstance(_owner(module, key), nn.Linear | nn.Conv1d
                                                 | nn.Conv2d)]  # fmt: skip
    counted = [key for key in inner if key not in (layers[0], *_last(layers))]
    found = sum(matrices[key] for key in counted if key in prunable)
    share = found / sum(matrices[key] for key in counted)
    dense = [key for key in counted if key not in prunable]
    print(
        f"{name}: {100 * share:.2f} % of {sum(matrices[key] for key in counted):,} weights in "
        f"{len(counted)} matrices{'; dense: ' + ', '.join(dense) if dense else ''}",
        flush=True,
    )
    return share


def _owner(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])


def _last(layers: list[str]) -> list[str]:
    """Return the last layer, with the one of a second head beside it."""
    heads = [key for key in layers if "head" in key.split(".")[0]]
    return [*heads, layers[-1]]


def main() -> None:
    """Print a line for each family; exit with 1 where one falls short."""
    warnings.simplefilter("ignore")
    declare_operators()
    wanted = sys.argv[1].lower() if len(sys.argv) > 1 else ""
    found = {}
    for name, (build, inputs) in FAMILIES.items():
        if wanted in name.lower():
            torch.manual_seed(0)
            found[name] = measure(name, build(), inputs)
    assert min(found.values()) >= LEAST, found
    print(f"figure: {100 * min(found.values()):.2f}")


if __name__ == "__main__":
    main()
