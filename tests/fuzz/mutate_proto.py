"""Changes to ONNX models that leave most of their structure whole."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.reading.onnx_walk import walk

from .mutate_bytes import mutate_bytes, number, text

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.evil", "custom", "ai.onnx.training")
_OPERATORS = (
    "Relu", "Conv", "Gemm", "MatMul", "Reshape", "Loop", "If", "Scan", "EPContext", "Identity",
    "Constant", "ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Pad", "Gather", "Concat",
    "QuantizeLinear", "MaxPool", "AveragePool", "LSTM", "Softmax", "Transpose", "Twice", "Split",
    "Slice", "Squeeze", "ReduceSum", "TopK", "OneHot", "DequantizeLinear", "FusedConv",
)  # fmt: skip


def mutate_model(content: bytes, rng: Random) -> bytes:
    """Change fields, nodes or tensors of a model, or its bytes."""
    if rng.random() < 0.25:
        return mutate_bytes(content, rng)
    model = onnx.load_model_from_string(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        special = rng.random() < 0.25
        (rng.choice(_SPECIAL) if special else change_field)(model, rng)
    changed: bytes = model.SerializeToString()
    return mutate_bytes(changed, rng) if rng.random() < 0.03 else changed


def change_field(model: onnx.ModelProto, rng: Random) -> None:
    """Change one field somewhere in the model."""
    parts = list(walk(model))
    part = rng.choice(parts)
    field = rng.choice(part.DESCRIPTOR.fields)
    if rng.random() < 0.7 and part.ListFields():
        field = rng.choice(part.ListFields())[0]
    value = getattr(part, field.name)
    if field.message_type is not None:
        _change_messages(part, field, value, parts, rng)
    elif field.is_repeated:
        if value and rng.random() < 0.7:
            value[rng.randrange(len(value))] = _scalar(field, value[0], rng)
        elif rng.random() < 0.5:
            value.append(_scalar(field, None, rng))
        elif value:
            del value[rng.randrange(len(value))]
    elif rng.random() < 0.15:
        part.ClearField(field.name)
    else:
        setattr(part, field.name, _scalar(field, value, rng))


def _change_messages(part: Any, field: Any, value: Any, parts: list[Any], rng: Random) -> None:
    alike = [p for p in parts if p.DESCRIPTOR is field.message_type and p is not part]
    copied = (
        type(rng.choice(alike)).FromString(rng.choice(alike).SerializeToString()) if alike else None
    )
    if not field.is_repeated:
        if copied is not None and rng.random() < 0.7:
            value.CopyFrom(copied)
        else:
            part.ClearField(field.name)
        return
    kind = rng.randrange(3)
    if kind == 0 and len(value):
        del value[rng.randrange(len(value))]
    elif kind == 1 and len(value):
        value.add().CopyFrom(rng.choice(list(value)))
    elif copied is not None:
        value.add().CopyFrom(copied)


def _scalar(field: Any, old: Any, rng: Random) -> Any:
    kinds = type(field)
    if field.cpp_type == kinds.CPPTYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.cpp_type in (kinds.CPPTYPE_FLOAT, kinds.CPPTYPE_DOUBLE):
        return rng.choice((0.0, -1.0, 1e30, float("nan"), float("inf"), 1e-40))
    if field.type == kinds.TYPE_BYTES:
        return mutate_bytes(old or b"", rng)
    if field.cpp_type == kinds.CPPTYPE_STRING:
        return _name(rng)
    bits = 32 if field.cpp_type in (kinds.CPPTYPE_INT32, kinds.CPPTYPE_UINT32) else 64
    plain = number(rng, int(old or 0)) % 2**bits
    unsigned = field.cpp_type in (kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64)
    return plain if unsigned or plain < 2 ** (bits - 1) else plain - 2**bits


def _name(rng: Random) -> str:
    known = ("input", "logits", "fc.weight", "flat", *_OPERATORS, *_DOMAINS)
    chosen = rng.choice(known) if rng.random() < 0.6 else text(rng)
    return chosen.encode("utf-8", "replace").decode()


def _node(model: onnx.ModelProto, rng: Random) -> onnx.NodeProto:
    return rng.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _operator(model: onnx.ModelProto, rng: Random) -> None:
    node = _node(model, rng)
    node.op_type = rng.choice(_OPERATORS)
    node.domain = rng.choice(("", "", _DOMAINS[rng.randrange(len(_DOMAINS))]))


def _attribute(model: onnx.ModelProto, rng: Random) -> None:
    names = ("strides", "pads", "dilations", "kernel_shape", "group", "axis", "perm", "alpha",
             "auto_pad", "allowzero", "to", "mode", "transB", "keepdims")  # fmt: skip
    name = rng.choice(names)
    values: list[Any] = [
        number(rng), [number(rng) for _ in range(rng.choice((1, 2, 4)))], text(rng)[:50], 0.5
    ]  # fmt: skip
    value = rng.choice(values)
    if value == "" or (isinstance(value, int) and abs(value) >= 2**63):
        value = 0
    node = _node(model, rng)
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.append(
        helper.make_attribute(
            name, value.encode("utf-8", "replace") if isinstance(value, str) else value
        )
    )


def _nest(model: onnx.ModelProto, rng: Random) -> None:
    graph = helper.make_graph([], "g", [], [helper.make_tensor_value_info("o", 1, [1])])
    for _ in range(rng.choice((1, 5, 15, 17, 20, 30))):
        branch = helper.make_node("If", ["c"], ["o"], then_branch=graph, else_branch=graph)
        if branch.ByteSize() > 1 << 20:
            break
        graph = helper.make_graph([branch], "g", [], [helper.make_tensor_value_info("o", 1, [1])])
    model.graph.node.extend(graph.node)


def _functions(model: onnx.ModelProto, rng: Random) -> None:
    """Add functions that use each other: in a circle, or twice each."""
    count = rng.choice((1, 3, 12, 30, 80))
    circle = rng.random() < 0.4
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
    for index in range(count):
        inner = (index + 1) % count if circle else index + 1
        kind, domain = ("Relu", "") if inner == count else (f"F{inner}", "f")
        body = [helper.make_node(kind, ["x"], ["m"], domain=domain),
                helper.make_node(kind, ["m"], ["y"], domain=domain)]  # fmt: skip
        model.functions.append(helper.make_function("f", f"F{index}", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("f", 1))
    node = _node(model, rng)
    node.op_type, node.domain = "F0", "f"
    del node.attribute[:]


def _external(model: onnx.ModelProto, rng: Random) -> None:
    tensors = [part for part in walk(model) if isinstance(part, TensorProto)]
    tensor = rng.choice(tensors) if tensors else model.graph.initializer.add()
    tensor.data_location = TensorProto.EXTERNAL
    if rng.random() < 0.8:
        tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=_name(rng))
    for key in ("offset", "length"):
        if rng.random() < 0.5:
            tensor.external_data.add(key=key, value=str(number(rng)))


def _sparse(model: onnx.ModelProto, rng: Random) -> None:
    """Turn an initializer into a sparse one, with a shape of any size."""
    count = rng.choice((0, 1, 2, 5))
    values = numpy_helper.from_array(
        numpy_helper.to_array(
            helper.make_tensor("fc.weight", TensorProto.FLOAT, [count], [1.0] * count)
        ),
        "fc.weight",
    )
    places = [number(rng, index) % 2**63 for index in range(count)]
    if rng.random() < 0.5:
        places = list(range(count))
    indices = helper.make_tensor("i", TensorProto.INT64, [count], places)
    dims = rng.choice(
        ([20, 3], [2**20, 2**20], [2**31, 2**31], [4000, 4000], [-1, 3], [0], [10**5, 10**3])
    )
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "fc.weight"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _metadata(model: onnx.ModelProto, rng: Random) -> None:
    if model.metadata_props:
        entry = rng.choice(model.metadata_props)
        value = rng.choice(("null", "[]", "{}", "[" * 5000, "1e999", "nan", _name(rng), "[1]"))
        entry.value = value


_SPECIAL: tuple[Callable[[onnx.ModelProto, Random], None], ...] = (
    _operator, _attribute, _attribute, _nest, _functions, _external, _sparse, _metadata,
)  # fmt: skip
