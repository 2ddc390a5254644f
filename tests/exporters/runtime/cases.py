"""Cases that every processor path must get right; as a program, run with a library.

python -m wfpipe.tests.exporters.runtime.cases LIBRARY
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wfpipe.tests.exporters.runtime.tile_models import (
    ACTIVATIONS,
    convolution,
    difference,
    extents,
    model,
    node,
    padded,
    pruned,
    session,
    sparse_convolution,
    window,
)

TOLERANCE = 1e-5
SAME = {"pads": [1, 1, 1, 1]}

CONVOLUTIONS: dict[str, dict[str, Any]] = {
    "pointwise": {"shape": (1, 64, 14, 14), "rows": 96},
    "pointwise, three images": {"shape": (3, 32, 9, 5), "rows": 50},
    "pointwise, two dimensions of stride 2": {"shape": (1, 32, 10, 10), "rows": 33,
                                              "strides": [2, 2]},
    "3x3, same size": {"shape": (1, 24, 12, 11), "rows": 40, "kernel": (3, 3), **SAME},
    "3x3, no padding": {"shape": (1, 24, 12, 11), "rows": 40, "kernel": (3, 3)},
    "3x3, stride 2, even": {"shape": (2, 24, 14, 14), "rows": 40, "kernel": (3, 3), **SAME,
                            "strides": [2, 2]},
    "3x3, stride 2, odd": {"shape": (1, 24, 15, 13), "rows": 40, "kernel": (3, 3), **SAME,
                           "strides": [2, 2]},
    "3x3, dilated": {"shape": (1, 16, 13, 13), "rows": 20, "kernel": (3, 3),
                     "pads": [2, 2, 2, 2], "dilations": [2, 2]},
    "5x3, unequal padding and strides": {"shape": (1, 8, 17, 12), "rows": 20, "kernel": (5, 3),
                                         "pads": [2, 1, 0, 3], "strides": [3, 1]},
    "7x7 of one position": {"shape": (2, 16, 7, 7), "rows": 40, "kernel": (7, 7)},
    "padding wider than the image": {"shape": (1, 4, 2, 2), "rows": 9, "kernel": (3, 3),
                                     "pads": [4, 3, 3, 5]},
    "many channels": {"shape": (1, 700, 7, 7), "rows": 64, "kernel": (3, 3), **SAME,
                      "density": 0.05},
    "rows of thousands of columns": {"shape": (1, 2048, 1, 1), "rows": 100},
    "groups": {"shape": (2, 24, 9, 9), "rows": 32, "kernel": (3, 3), **SAME, "group": 4},
    "a channel a group": {"shape": (1, 12, 9, 9), "rows": 24, "kernel": (3, 3), **SAME,
                          "group": 12},
    "pointwise groups": {"shape": (1, 24, 9, 9), "rows": 32, "group": 2},
    "one dimension": {"shape": (2, 16, 75), "rows": 40, "kernel": (5,), "pads": [2, 2]},
    "one dimension, long kernel and stride": {"shape": (1, 2, 4000), "rows": 24,
                                              "kernel": (40,), "strides": [4]},
    "one dimension, pointwise": {"shape": (1, 40, 33), "rows": 40, "kernel": (1,)},
    "no weight but zeros": {"shape": (1, 8, 9, 9), "rows": 16, "kernel": (3, 3), **SAME,
                            "density": 0.0},
    "pointwise zeros": {"shape": (1, 8, 9, 9), "rows": 16, "density": 0.0},
    "dense weights": {"shape": (1, 48, 9, 9), "rows": 40, "kernel": (3, 3), **SAME,
                      "density": 1.0},
    "without bias": {"shape": (1, 16, 9, 9), "rows": 16, "bias": False},
    "residual": {"shape": (2, 32, 9, 9), "rows": 40, "residual": True},
    "residual of one position": {"shape": (2, 32, 1, 1), "rows": 40, "residual": True},
    "residual without bias": {"shape": (1, 32, 6, 6), "rows": 40, "residual": True,
                              "bias": False},
    "an output larger than caches": {"shape": (2, 4, 200, 200), "rows": 56, "density": 0.5,
                                     "residual": True},
    "float16 values": {"shape": (1, 300, 9, 9), "rows": 40, "half": True},
}  # fmt: skip


def convolve(
    library: Path, *, threads: int, shape: tuple[int, ...], rows: int, **case: Any
) -> float:
    """Return how far SparseConv is from float64."""
    generator = np.random.default_rng(rows + sum(shape))
    kernel = case.pop("kernel", (1,) * (len(shape) - 2))
    group, half = case.pop("group", 1), case.pop("half", False)
    density, activation = case.pop("density", 0.2), case.pop("activation", "relu")
    bias, residual = case.pop("bias", True), case.pop("residual", False)
    attributes = window(kernel, shape[2:], **case)
    x = generator.standard_normal(shape, dtype=np.float32)
    weight = pruned(generator, (rows, shape[1] // group, *kernel), density)
    if half:
        weight = weight.astype(np.float16).astype(np.float32)
    rest: dict[str, Any] = {"activation": activation, "group": group}
    if bias:
        rest["bias"] = generator.standard_normal(rows, dtype=np.float32)
    if residual:
        size = (shape[0], rows, *extents(attributes))
        rest["residual"] = generator.standard_normal(size, dtype=np.float32)
    got = sparse_convolution(library, x, weight, attributes, half=half, threads=threads, **rest)
    return difference(got, convolution(x, weight, attributes, **rest))


DEPTHWISE: dict[str, dict[str, Any]] = {
    "same size": {"shape": (2, 19, 12, 11), "kernel": (3, 3), **SAME},
    "stride 2, even": {"shape": (1, 40, 14, 14), "kernel": (3, 3), **SAME, "strides": [2, 2]},
    "stride 2, uneven padding": {"shape": (1, 8, 14, 14), "kernel": (3, 3), "strides": [2, 2],
                                 "pads": [0, 0, 1, 1]},
    "5x5": {"shape": (1, 8, 14, 10), "kernel": (5, 5), "pads": [2, 2, 2, 2]},
    "no padding": {"shape": (1, 8, 9, 9), "kernel": (3, 3)},
    "one position": {"shape": (2, 8, 7, 7), "kernel": (7, 7)},
    "one dimension": {"shape": (2, 8, 70), "kernel": (4,), "pads": [3, 0]},
}  # fmt: skip


def filter_channels(library: Path, *, threads: int, shape: tuple[int, ...], **case: Any) -> float:
    """Return how far TileDepthwise, with bias, residual and activation, is from float64."""
    generator = np.random.default_rng(sum(shape))
    channels, kernel = shape[1], case.pop("kernel")
    attributes = window(kernel, shape[2:], **case)
    x = generator.standard_normal(shape, dtype=np.float32)
    weight = generator.standard_normal((channels, 1, *kernel), dtype=np.float32)
    bias = generator.standard_normal(channels, dtype=np.float32)
    size = (shape[0], channels, *extents(attributes))
    residual = generator.standard_normal(size, dtype=np.float32)
    nodes = [
        node("ToTiles", ["x"], "tiles"),
        node("ToTiles", ["residual"], "more"),
        node("TileDepthwise", ["tiles", "w", "bias", "more"], "out", in_channels=channels,
             group=channels, activation="hardswish", **attributes),
        node("FromTiles", ["out"], "y", spatial=extents(attributes)),
    ]  # fmt: skip
    source = model(nodes, {"x": shape, "residual": size}, {"w": weight, "bias": bias})
    got = session(library, source, threads).run(None, {"x": x, "residual": residual})[0]
    rest: dict[str, Any] = {"activation": "hardswish", "group": channels}
    return difference(got, convolution(x, weight, attributes, bias=bias, residual=residual, **rest))


POOLS: dict[str, dict[str, Any]] = {
    "maximum, as in a ResNet": {"kind": "max", "shape": (2, 21, 16, 16), "kernel": (3, 3), **SAME,
                                "strides": [2, 2]},
    "maximum, odd": {"kind": "max", "shape": (1, 5, 13, 9), "kernel": (2, 3), "strides": [2, 3]},
    "maximum of all": {"kind": "max", "shape": (1, 5, 6, 6), "kernel": (6, 6)},
    "maximum, one dimension": {"kind": "max", "shape": (1, 5, 60), "kernel": (3,),
                               "strides": [2], "pads": [1, 1]},
    "average": {"kind": "average", "shape": (1, 20, 12, 12), "kernel": (2, 2),
                "strides": [2, 2]},
    "average, padded": {"kind": "average", "shape": (1, 5, 9, 9), "kernel": (3, 3), **SAME},
    "average, padding counted": {"kind": "average", "shape": (1, 5, 9, 9), "kernel": (3, 3),
                                 **SAME, "strides": [2, 2], "count_include_pad": 1},
    "average of all": {"kind": "average", "shape": (3, 5, 8, 8), "kernel": (8, 8)},
}  # fmt: skip


def pool(
    library: Path, *, threads: int, kind: str, shape: tuple[int, ...], count_include_pad: int = 0,
    **case: Any,
) -> float:  # fmt: skip
    """Return how far TilePool is from float64."""
    generator = np.random.default_rng(sum(shape))
    attributes = window(case.pop("kernel"), shape[2:], **case)
    x = generator.standard_normal(shape, dtype=np.float32)
    nodes = [
        node("ToTiles", ["x"], "tiles"),
        node("TilePool", ["tiles"], "out", kind=kind, count_include_pad=count_include_pad,
             **attributes),
        node("FromTiles", ["out"], "y", spatial=extents(attributes)),
    ]  # fmt: skip
    got = session(library, model(nodes, {"x": shape}, {}), threads).run(None, {"x": x})[0]
    return difference(got, _pooled(torch.from_numpy(x).double(), kind, count_include_pad,
                                   attributes))  # fmt: skip


def _pooled(
    x: torch.Tensor, kind: str, counted: int, attributes: dict[str, list[int]]
) -> np.ndarray:
    kernel, strides, pads = (attributes[key] for key in ("kernel_shape", "strides", "pads"))
    if x.ndim == 3:
        x, kernel, strides, pads = (
            x[:, :, None],
            [1, *kernel],
            [1, *strides],
            [0, pads[0], 0, pads[1]],
        )
    image = padded(x, pads, float("-inf") if kind == "max" else 0.0)
    if kind == "max":
        pooled = torch.nn.functional.max_pool2d(image, kernel, strides)
    else:
        sums = torch.nn.functional.avg_pool2d(image, kernel, strides, divisor_override=1)
        ones = torch.ones_like(image) if counted else padded(torch.ones_like(x), pads)
        pooled = sums / torch.nn.functional.avg_pool2d(ones, kernel, strides, divisor_override=1)
    return np.asarray(pooled[:, :, 0] if len(attributes["strides"]) == 1 else pooled)


def average_of_all(library: Path, *, threads: int, shape: tuple[int, ...]) -> float:
    """Return how far TileGlobalAverage is from float64."""
    x = np.random.default_rng(1).standard_normal(shape, dtype=np.float32) + 1
    nodes = [
        node("ToTiles", ["x"], "tiles"),
        node("TileGlobalAverage", ["tiles"], "y", input_size=list(shape[2:])),
    ]
    got = session(library, model(nodes, {"x": shape}, {}), threads).run(None, {"x": x})[0]
    axes = tuple(range(2, len(shape)))
    wanted = x.astype(np.float64).mean(axes).reshape(*shape[:2], 1, 1)
    return difference(got, wanted)


AVERAGES = {
    "a tile": (1, 70, 7, 7),
    "many tiles": (2, 5, 30, 31),
    "one position": (3, 8, 1, 1),
    "one dimension": (1, 8, 100),
}


def every_difference(library: Path) -> dict[str, float]:
    """Return how far each case is from float64, by name."""
    result = {}
    for name, case in CONVOLUTIONS.items():
        result[name] = convolve(library, threads=1, **case)
    for name in ACTIVATIONS:
        result[name] = convolve(library, threads=1, shape=(1, 24, 6, 6), rows=40, activation=name)
    for name, case in DEPTHWISE.items():
        result[f"depthwise, {name}"] = filter_channels(library, threads=1, **case)
    for name, case in POOLS.items():
        result[name] = pool(library, threads=1, **case)
    for name, shape in AVERAGES.items():
        result[f"average of {name}"] = average_of_all(library, threads=1, shape=shape)
    return result


def main(arguments: Sequence[str]) -> None:
    """Print the path in use; end with an error where a case is wrong."""
    library = Path(arguments[0])
    loaded = ctypes.CDLL(str(library))
    loaded.wfpipe_kernels_path.restype = ctypes.c_char_p
    wrong = {k: v for k, v in every_difference(library).items() if not v < TOLERANCE}
    print(loaded.wfpipe_kernels_path().decode())
    if wrong:
        print(f"wrong: {wrong}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
