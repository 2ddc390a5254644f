"""Whether whole channels can be taken out of networks of torchvision, timm and transformers.

    python tests/vision/check_channels.py [WORD]

Each network whose name has the word in it loses channels until half of its MACs are left, or as
many as can be, and must give the outputs of the masked one within 1e-5 of the largest. Where the
compiled operators of torchvision do not go with the PyTorch that is there, they are declared
without being there: no network here calls them.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import torch


def main() -> None:
    """Print a line for each network; exit with 1 where one is refused or differs."""
    declare_operators()
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
    measure = importlib.import_module("channels_models").measure
    networks = importlib.import_module("small_networks").networks
    warnings.simplefilter("ignore")
    bad = [
        name
        for name, module, example in networks(sys.argv[1] if len(sys.argv) > 1 else "")
        if not measure(name, module.eval(), example)
    ]
    sys.exit(f"not as the masked one: {', '.join(bad)}" if bad else 0)


def declare_operators() -> None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name, signature in OPERATORS.items():
            library.define(f"{name}{signature}")
        importlib.import_module("torchvision")


OPERATORS = {  # of those that torchvision describes when it is imported
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}

if __name__ == "__main__":
    main()
