"""Changes to models with nodes of the sparse kernels, to what the kernels read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, helper, numpy_helper

from .mutate_bytes import mutate_bytes, number, text
from .mutate_proto import change_field

_SMALL = (0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 31, 64, 100, 255, 256, 257)
_NAMES = (
    "kernel_shape", "strides", "pads", "dilations", "input_size", "in_channels", "group",
    "activation", "low", "high", "channels_last", "spatial", "kind", "count_include_pad",
)  # fmt: skip
_WORDS = (
    "none", "relu", "clip", "hardswish", "hardsigmoid", "sigmoid", "silu", "leakyrelu", "gelu",
    "max", "average", "relu\0x",
)  # fmt: skip
_OPERATORS = (
    "ToTiles", "FromTiles", "SparseConv", "TileDepthwise", "TilePool", "TileGlobalAverage",
)  # fmt: skip
_TYPES = (np.float32, np.float16, np.uint8, np.int32, np.int64, np.float64, np.int8, np.bool_)


def mutate_kernel_model(content: bytes, rng: Random) -> bytes:
    """Change one to four things that the kernels read; now and then any field or any bytes."""
    if rng.random() < 0.05:
        return mutate_bytes(content, rng)
    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        change = rng.choices(_CHANGES, _SHARES)[0]
        with suppress(TypeError, ValueError, OverflowError):  # of what an earlier one has spoilt
            change(model, rng)
    changed: bytes = model.SerializeToString()
    return changed


def _number(rng: Random, old: int = 0) -> int:
    """Return a number of 64 bits, mostly one that a node may have."""
    if rng.random() < 0.5:
        return rng.choice(_SMALL)
    value = number(rng, old) % 2**64
    return value - 2**64 if value >= 2**63 else value


def _kernel_node(model: onnx.ModelProto, rng: Random) -> NodeProto:
    nodes = [node for node in model.graph.node if node.domain == "wfpipe"]
    return rng.choice(nodes or list(model.graph.node) or [model.graph.node.add()])


def _attribute(model: onnx.ModelProto, rng: Random) -> None:
    """Change a number in an attribute, or the whole attribute, or leave it out."""
    node = _kernel_node(model, rng)
    if not node.attribute or rng.random() < 0.15:
        node.attribute.append(_made(rng.choice(_NAMES), rng))
        return
    at = rng.randrange(len(node.attribute))
    attribute = node.attribute[at]
    kind = rng.random()
    if kind < 0.6 and attribute.ints:
        index = rng.randrange(len(attribute.ints))
        attribute.ints[index] = _number(rng, attribute.ints[index])
    elif kind < 0.6 and attribute.type == AttributeProto.INT:
        attribute.i = _number(rng, attribute.i)
    elif kind < 0.7 and attribute.ints:
        del attribute.ints[rng.randrange(len(attribute.ints))]
    elif kind < 0.8:
        attribute.ints.append(_number(rng))
    elif kind < 0.95:
        attribute.CopyFrom(_made(attribute.name, rng))
    else:
        del node.attribute[at]


def _made(name: str, rng: Random) -> AttributeProto:
    numbers = [_number(rng) for _ in range(rng.choice((1, 2, 2, 4, 4, 3, 9)))]
    word = rng.choice((*_WORDS, *_WORDS, text(rng)[:100])).encode("utf-8", "replace")
    real = rng.choice((0.5, -1.0, 1e30, float("nan"), float("inf")))
    fitting = {"in_channels": _number(rng), "group": _number(rng), "channels_last": _number(rng),
               "count_include_pad": 1, "activation": word, "kind": word, "low": real,
               "high": real}.get(name, numbers)  # fmt: skip
    value = fitting if rng.random() < 0.8 else rng.choice((numbers, word, real, 3))
    return helper.make_attribute(name, value)


def _tensor(model: onnx.ModelProto, rng: Random) -> None:
    """Change values, length or type of an initializer, most of all of those that say places."""
    tensors = list(model.graph.initializer)
    if not tensors:
        return
    places = [tensor for tensor in tensors if tensor.name.endswith((".gaps", ".rows"))]
    tensor = rng.choice(places if places and rng.random() < 0.7 else tensors)
    if tensor.data_type not in helper.get_all_tensor_dtypes():  # by an earlier change
        return
    array = numpy_helper.to_array(tensor).copy()
    if array.dtype.kind not in "iufb":
        return
    kind = rng.random()
    flat = array.reshape(-1)
    if kind < 0.6 and flat.size:
        for _ in range(rng.choice((1, 1, 2, 8))):
            _put(flat, rng)
    elif kind < 0.7:
        array = np.append(flat, flat[-1:]) if rng.random() < 0.5 else flat[:-1]
    elif kind < 0.75:
        array = flat[: rng.choice((0, 1, 2))]
    elif kind < 0.8:
        array = np.resize(flat, rng.choice((3, 1000, 40_000)))
    elif kind < 0.85:
        array = array.reshape(rng.choice(([1, -1], [-1, 1], [-1])))
    elif kind < 0.92:
        with np.errstate(all="ignore"):
            array = array.astype(rng.choice(_TYPES))
    else:
        array = np.sort(flat)[:: rng.choice((1, -1))]
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def _put(flat: np.ndarray, rng: Random) -> None:
    """Put another value into an array: near the old one, that of a neighbour, or any."""
    at = rng.randrange(flat.size)
    old = flat[at]
    with np.errstate(all="ignore"):
        near = (np.int64(old) + rng.choice((1, 1, 2, 255, -1))).astype(flat.dtype)
        any_bits = np.frombuffer(rng.randbytes(flat.itemsize), flat.dtype)[0]
        extreme = np.array(rng.choice((0, 1, 255, 127))).astype(flat.dtype)
    flat[at] = rng.choice((near, near, flat[rng.randrange(flat.size)], extreme, any_bits))


def _input(model: onnx.ModelProto, rng: Random) -> None:
    """Have a node take another tensor, one more, one less, or none."""
    node = _kernel_node(model, rng)
    known = [tensor.name for tensor in model.graph.initializer]
    known += [name for each in model.graph.node for name in each.output] + ["input", ""]
    kind = rng.random()
    if kind < 0.6 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(known)
    elif kind < 0.8:
        node.input.append(rng.choice(known))
    elif node.input:
        del node.input[rng.randrange(len(node.input))]


def _operator(model: onnx.ModelProto, rng: Random) -> None:
    _kernel_node(model, rng).op_type = rng.choice(_OPERATORS)


def _shape(model: onnx.ModelProto, rng: Random) -> None:
    """Have the model take another shape."""
    if not model.graph.input:
        return
    dims = model.graph.input[0].type.tensor_type.shape.dim
    kind = rng.random()
    if kind < 0.6 and dims:
        dims[rng.randrange(len(dims))].dim_value = rng.choice(_SMALL)
    elif kind < 0.8:
        dims.add().dim_value = rng.choice((1, 2, 5))
    elif dims:
        del dims[rng.randrange(len(dims))]


def _window(model: onnx.ModelProto, rng: Random) -> None:
    """Give a node a window and an image that fit each other, of any size."""
    node = _kernel_node(model, rng)
    rank = rng.choice((1, 2, 2))
    kernel = [rng.choice((1, 1, 2, 3, 3, 5, 11, 64)) for _ in range(rank)]
    dilations = [rng.choice((1, 1, 1, 2, 3, 40)) for _ in range(rank)]
    pads = [rng.choice((0, 0, 1, 2, 9, 100)) for _ in range(2 * rank)]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    size = [rng.choice((1, each, 2 * each, 5, 14, 33, 300)) for each in reach]
    strides = [rng.choice((1, 1, 2, 3, 7, 50)) for _ in range(rank)]
    new = {"kernel_shape": kernel, "dilations": dilations, "pads": pads, "input_size": size,
           "strides": strides}  # fmt: skip
    kept = [attribute for attribute in node.attribute if attribute.name not in new]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in new.items())


def _matching(model: onnx.ModelProto, rng: Random) -> None:
    """Give a layer another window, and a weight and an input that fit it."""
    layers = [node for node in model.graph.node if node.op_type == "SparseConv"]
    if not layers or len(layers[0].input) < 4:
        return
    node = layers[0]
    _window(model, rng)
    columns = rng.choice((1, 3, 9, 100, 1000, 20_000))
    rows = rng.choice((1, 2, 8, 33, 200))
    counts = [min(columns, rng.choice((0, 1, 1, 5, 30))) for _ in range(rows)]
    gaps = [rng.choice((1, 1, 2, max(1, columns // 31) % 256)) for _ in range(sum(counts))]
    arrays = (
        np.ones(len(gaps), np.float32), np.array(gaps, np.uint8),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
    )  # fmt: skip
    for name, array in zip(node.input[1:4], arrays, strict=True):
        for tensor in model.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(array, name))


_CHANGES: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    _attribute, _tensor, _input, _operator, _shape, _window, _matching, change_field,
)  # fmt: skip
_SHARES = (35, 35, 10, 3, 7, 8, 6, 5)
