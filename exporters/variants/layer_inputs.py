"""Second moments of what enters the layers of a model, from runs of ONNX Runtime on samples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper
from onnxruntime import InferenceSession

from ...support.nests import Nest, cut
from ..measuring.inference import named_inputs
from ..measuring.session import SessionSettings, default_threads, open_session
from ..reading.onnx_graph import weights

Array = np.ndarray[Any, Any]

MOST_BYTES = 1 << 29
"""Matrices that are summed in one pass over the samples; larger ones are left out: a heuristic."""

_BATCH = 8
"""Samples that run together: few, as the inputs of all layers are in memory at once."""

_POSITIONS = 32
"""Positions of a sample that are used of each layer, drawn at random: a heuristic."""


@dataclass(frozen=True)
class Layer:
    """A node that multiplies its first input with a weight.

    Args:
        node: a Conv, Gemm or MatMul.
        weight: name of its weight.
        groups: sets of inputs, 1 but for grouped convolutions.
        inputs: k, inputs of each output.
        kernel: sizes of the window of a convolution; empty for the others.
        turned: whether the weight has its outputs along the last axis, not the first.
    """

    node: NodeProto
    weight: str
    groups: int
    inputs: int
    kernel: tuple[int, ...] = ()
    turned: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of its matrices."""
        return 8 * self.groups * self.inputs**2


def find_layers(model: ModelProto) -> list[Layer]:
    """Return the layers whose inputs can be taken as rows of numbers, in order."""
    known = weights(model)
    found = []
    for node in model.graph.node:
        if len(node.input) < 2 or node.input[1] not in known:
            continue
        shape, values = tuple(known[node.input[1]].dims), _attributes(node)
        if node.op_type == "Conv" and values.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID"):
            kernel, groups = shape[2:], values.get("group", 1)
            found.append(Layer(node, node.input[1], groups, prod(shape[1:]), kernel))
        elif node.op_type == "Gemm" and not values.get("transA"):
            turned = not values.get("transB")
            found.append(Layer(node, node.input[1], 1, shape[1 - turned], turned=turned))
        elif node.op_type == "MatMul" and len(shape) == 2:
            found.append(Layer(node, node.input[1], 1, shape[0], turned=True))
    return found


def second_moments(
    model: ModelProto, layers: Iterable[Layer], samples: Nest
) -> Iterator[tuple[str, Array]]:
    """Yield the name of each weight with A = Σ x xᵀ, ``Float64[groups, k, k]``.

    Few matrices are in memory at a time, so the samples may be run more than once. Layers that
    share a weight share their sum.

    Args:
        model: the model.
        layers: of ``model``; those whose matrices are too large are left out.
        samples: prepared inputs, arrays (n, ...).
    """
    for part in _parts(layers):
        sums = {layer.weight: np.zeros((layer.groups, *2 * [layer.inputs])) for layer in part}
        generator = np.random.default_rng(0)
        for values in _runs(model, [layer.node.input[0] for layer in part], samples):
            for layer in part:
                X = input_rows(layer, values[layer.node.input[0]], _POSITIONS, generator)
                sums[layer.weight] += X.swapaxes(1, 2) @ X
        yield from sums.items()


def input_rows(layer: Layer, x: Array, count: int, generator: np.random.Generator) -> Array:
    """Return what a layer multiplies its weights with, at some of its positions.

    Args:
        layer: says how.
        x: its input, ``Float[n, channels, …]`` of a convolution, else ``Float[…, k]``.
        count: most positions for each sample; the same ones are drawn for all of ``x``.
        generator: draws them.

    Returns:
        ``Float[groups, rows, k]``, k in the order of the weight.
    """
    X: Array
    if not layer.kernel:
        X = x.reshape(-1, layer.inputs)
        return X[_draw(len(X), count * len(x), generator)][None]
    windows = _windows(layer, x)
    axes = len(layer.kernel)
    positions = windows.shape[2 : 2 + axes]
    places: tuple[Any, ...] = np.unravel_index(_draw(prod(positions), count, generator), positions)
    X = windows[(slice(None), slice(None), *places)]  # samples, channels, places, kernel
    X = X.swapaxes(1, 2).reshape(-1, layer.groups, layer.inputs)
    return np.ascontiguousarray(X.swapaxes(0, 1))


def _windows(layer: Layer, x: Array) -> Array:
    """Return the inputs that each output sees, a view: ``[n, channels, *outputs, *kernel]``."""
    values, axes = _attributes(layer.node), len(layer.kernel)
    pads = values.get("pads", [0] * 2 * axes)
    steps = values.get("strides", [1] * axes)
    gaps = values.get("dilations", [1] * axes)
    x = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    reach = [gap * (size - 1) + 1 for gap, size in zip(gaps, layer.kernel, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, 2 + axes)))
    every = [slice(None, None, step) for step in (*steps, *gaps)]
    return windows[(slice(None), slice(None), *every)]


def _draw(total: int, count: int, generator: np.random.Generator) -> Array:
    if total <= count:
        return np.arange(total)
    return np.sort(generator.choice(total, count, replace=False))


def _parts(layers: Iterable[Layer]) -> Iterator[list[Layer]]:
    """Share out layers so that the matrices of a part fit together; a weight is in one part."""
    by_weight: dict[str, list[Layer]] = {}
    for layer in layers:
        by_weight.setdefault(layer.weight, []).append(layer)
    part: list[Layer] = []
    for uses in by_weight.values():
        if uses[0].bytes > MOST_BYTES:
            continue
        if sum(layer.bytes for layer in part) + uses[0].bytes > MOST_BYTES:
            yield part
            part = []
        part += uses
    if part:
        yield part


def _runs(model: ModelProto, names: Sequence[str], samples: Nest) -> Iterator[dict[str, Array]]:
    """Run the model batch by batch, and yield the values of that name."""
    given = named_inputs(model, samples)
    wanted = [name for name in dict.fromkeys(names) if name not in given]
    session = _with_outputs(model, wanted) if wanted else None
    for batch in cut(given, _BATCH):
        values = session.run(wanted, batch) if session is not None else []
        yield {**batch, **dict(zip(wanted, values, strict=True))}


def _with_outputs(model: ModelProto, names: Sequence[str]) -> InferenceSession:
    """Open the model so that it gives these values and no others."""
    opened = ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        path = Path(folder) / "opened.onnx"
        path.write_bytes(opened.SerializeToString())
        return open_session(path, SessionSettings("cpu", default_threads()))


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
