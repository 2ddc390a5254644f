"""Small networks with random weights of the families that whole channels are taken out of.

Those of torchvision, timm and transformers are built by these packages' own code, thinner or with
fewer layers than the published ones where the family lets itself be built so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

transformers: Any = import_module("transformers")
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TOKENS = {
    "input_ids": torch.arange(24).reshape(2, 12) % 50,
    "attention_mask": (torch.arange(12) < torch.tensor([[12], [7]])).long(),
}
CONFIG: dict[str, Any] = {"vocab_size": 50, "num_labels": 5}


class UNet(nn.Module):
    """Three levels of two convolutions, each beside what the way down gave at its size."""

    def __init__(self, width: int = 12, classes: int = 5) -> None:
        super().__init__()
        sizes = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(map(_twice, [3, *sizes], sizes))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in sizes[:-1])
        self.join = nn.ModuleList(_twice(2 * w, w) for w in sizes[:-1])
        self.last = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of each position."""
        beside = []
        for number, down in enumerate(self.down):
            x = down(x if number == 0 else nn.functional.max_pool2d(x, 2))
            beside.append(x)
        for number in reversed(range(len(self.up))):
            x = self.join[number](torch.cat([beside[number], self.up[number](x)], 1))
        scores: Tensor = self.last(x)
        return scores


def _twice(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class Scores(nn.Module):
    """A network of transformers that takes a mapping and gives its scores alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Any) -> Tensor:
        """Return the logits."""
        given = {"pixel_values": inputs} if isinstance(inputs, Tensor) else inputs
        scores: Tensor = self.network(**given).logits
        return scores


def _published(name: str, **options: Any) -> Callable[[], nn.Module]:
    return partial(models.get_model, name, num_classes=5, **options)


def _of_timm(name: str, **options: Any) -> Callable[[], nn.Module]:
    return partial(timm.create_model, name, num_classes=5, **options)


def _convnext() -> nn.Module:
    blocks = [CNBlockConfig(16, 32, 2), CNBlockConfig(32, 48, 2), CNBlockConfig(48, None, 1)]
    network: nn.Module = ConvNeXt(blocks, layer_scale=0.5, num_classes=5)
    return network


def _vision_transformer() -> nn.Module:
    network: nn.Module = models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=4, hidden_dim=48, mlp_dim=96,
        num_classes=5,
    )  # fmt: skip
    return network


def _densenet() -> nn.Module:
    network: nn.Module = models.DenseNet(
        growth_rate=8, block_config=(2, 3, 2), num_init_features=16, num_classes=5
    )
    return network


def _bert(**options: Any) -> nn.Module:
    config = transformers.BertConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        **CONFIG, **options,
    )  # fmt: skip
    return Scores(transformers.BertForSequenceClassification(config))


def _distilbert() -> nn.Module:
    config = transformers.DistilBertConfig(dim=48, n_layers=2, n_heads=4, hidden_dim=96, **CONFIG)
    return Scores(transformers.DistilBertForSequenceClassification(config))


def _vit_of_transformers() -> nn.Module:
    config = transformers.ViTConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        image_size=64, num_labels=5,
    )  # fmt: skip
    return Scores(transformers.ViTForImageClassification(config))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    **{f"torchvision {name}": _published(name) for name in (
        "resnet18", "resnet50", "resnext50_32x4d", "squeezenet1_1", "mobilenet_v2",
        "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet0_5", "efficientnet_b0",
        "shufflenet_v2_x0_5", "regnet_x_400mf", "regnet_y_400mf",
    )},
    "torchvision ConvNeXt": _convnext,
    "torchvision DenseNet": _densenet,
    "torchvision ViT": _vision_transformer,
    **{f"timm {name}": _of_timm(name) for name in (
        "mobilenetv3_small_050", "efficientnet_lite0", "convnext_atto", "regnety_002",
    )},
    "timm vit_tiny": _of_timm("vit_tiny_patch16_224", img_size=64, depth=2),
    "U-Net": UNet,
    "transformers BERT": _bert,
    "transformers BERT, eager": partial(_bert, attn_implementation="eager"),
    "transformers DistilBERT": _distilbert,
    "transformers ViT": _vit_of_transformers,
}  # fmt: skip


def networks(wanted: str) -> Iterator[tuple[str, nn.Module, Any]]:
    """Yield the networks whose names have a word in them, with a batch of inputs for each."""
    for name, build in NETWORKS.items():
        if wanted.lower() in name.lower():
            torch.manual_seed(0)
            yield name, build(), TOKENS if "BERT" in name else IMAGES
