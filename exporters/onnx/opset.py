"""An exported graph for an older operator set than the exporter of PyTorch writes.

onnx's own version converter has no way back for operators of which only the types grew, such as
Relu and Mul from 14 to 13. Here each node is held against the older definition of its operator:
it stays where that knows all that the node says, is rewritten where an input was an attribute,
and becomes the nodes of its definition where the operator is newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, defs, helper, numpy_helper

from ...support.errors import InputError
from ..reading.onnx_graph import graphs

CAPTURED = 18
"""The lowest operator set that PyTorch's exporter writes by itself."""


def lower_opset(model: onnx.ModelProto, opset: int) -> None:
    """Rewrite ``model``, of operator set :data:`CAPTURED`, in place for ``opset`` below it.

    What it computes does not change; that it does not is for the parity check to prove.

    Raises:
        InputError: naming the first operator that ``opset`` has no form of.
    """
    if len(list(graphs(model.graph))) > 1:
        raise InputError(
            f"export.opset {opset}: the model holds branches or loops, which are kept at "
            f"{CAPTURED} or above"
        )
    types = _types(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    done: list[NodeProto] = []
    for node in model.graph.node:
        done += _lowered(node, opset, types, constants)
    del model.graph.node[:]
    model.graph.node.extend(done)
    _drop_unused(model.graph)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)


def _lowered(
    node: NodeProto,
    opset: int,
    types: Mapping[str, onnx.TypeProto],
    constants: Mapping[str, TensorProto],
) -> list[NodeProto]:
    newest = _schema(node, CAPTURED)
    older = _schema(node, opset)
    if older is None:
        function = _definition(node, newest, types)
        if function is None:
            raise _no_form(node, opset)
        inner = _expanded(node, function, newest)
        return [part for one in inner for part in _lowered(one, opset, types, constants)]
    if newest is not None and newest.since_version == older.since_version:
        return [node]
    changed = NodeProto()
    changed.CopyFrom(node)
    if len(node.input) > older.max_input and not _inputs_to_attributes(changed, older, constants):
        raise _no_form(node, opset)
    lost = [a for a in changed.attribute if a.name not in older.attributes]
    if not all(_means_nothing(a, newest, node, constants) for a in lost):
        raise _no_form(node, opset)
    kept = [a for a in changed.attribute if a.name in older.attributes]
    del changed.attribute[:]
    changed.attribute.extend(kept)
    return [changed]


def _schema(node: NodeProto, opset: int) -> defs.OpSchema | None:
    try:
        return defs.get_schema(node.op_type, opset, node.domain)
    except defs.SchemaError:
        return None


def _inputs_to_attributes(
    node: NodeProto, older: defs.OpSchema, constants: Mapping[str, TensorProto]
) -> bool:
    """Turn the constant ``axes`` of a reduction from an input into the attribute it once was."""
    axes = constants.get(node.input[-1])
    if "axes" not in older.attributes or len(node.input) != older.max_input + 1 or axes is None:
        return False
    del node.input[-1]
    node.attribute.append(helper.make_attribute("axes", numpy_helper.to_array(axes).tolist()))
    return True


def _means_nothing(
    attribute: AttributeProto,
    schema: defs.OpSchema | None,
    node: NodeProto,
    constants: Mapping[str, TensorProto],
) -> bool:
    """Tell whether a node means the same without an attribute that its older operator lacks."""
    if node.op_type == "Split" and attribute.name == "num_outputs":
        return True  # parts of equal size were the default
    if node.op_type == "Reshape" and attribute.name == "allowzero":
        shape = constants.get(node.input[1])
        return not attribute.i or shape is None or bool(numpy_helper.to_array(shape).all())
    default = schema.attributes[attribute.name].default_value if schema is not None else None
    if default is None or not default.type:
        return False
    same = helper.get_attribute_value(attribute) == helper.get_attribute_value(default)
    return bool(same)


def _definition(
    node: NodeProto, schema: defs.OpSchema | None, types: Mapping[str, onnx.TypeProto]
) -> FunctionProto | None:
    """Return the definition of an operator by others, in the oldest operator set that has one."""
    if schema is None:
        return None
    function = FunctionProto()
    if schema.has_function:
        version = min(schema.function_opset_versions)
        function.ParseFromString(schema.get_function_with_opset_version(version))
        return function
    if schema.has_context_dependent_function:
        version = min(schema.context_dependent_function_opset_versions)
        given = [types[name].SerializeToString() if name in types else b"" for name in node.input]
        content = schema.get_context_dependent_function_with_opset_version(
            version, node.SerializeToString(), given
        )
        function.ParseFromString(content)
        return function
    return None


def _expanded(
    node: NodeProto, function: FunctionProto, schema: defs.OpSchema | None
) -> Iterable[NodeProto]:
    """Yield the nodes of a definition in place of ``node``, their names made unique by its name."""
    own = dict(zip(function.input, node.input, strict=False))
    own |= {formal: "" for formal in function.input if formal not in own}
    own |= dict(zip(function.output, node.output, strict=False))
    given = {attribute.name: attribute for attribute in node.attribute}
    defaults = {a.name: a for a in function.attribute_proto}
    if schema is not None:
        known = {name: a.default_value for name, a in schema.attributes.items()}
        defaults |= {name: value for name, value in known.items() if value.type}
    prefix = node.output[0]
    for number, part in enumerate(function.node):
        copy = NodeProto()
        copy.CopyFrom(part)
        copy.name = f"{node.name}/{number}"
        for names in (copy.input, copy.output):
            names[:] = [own.get(n, f"{prefix}/{n}" if n else "") for n in names]
        attributes = [_filled(a, given, defaults) for a in part.attribute]
        del copy.attribute[:]
        copy.attribute.extend(a for a in attributes if a is not None)
        yield copy


def _filled(
    attribute: AttributeProto,
    given: Mapping[str, AttributeProto],
    defaults: Mapping[str, AttributeProto],
) -> AttributeProto | None:
    """Put what the node says in the place of a reference to its attribute."""
    reference = attribute.ref_attr_name
    if not reference:
        return attribute
    source = given.get(reference, defaults.get(reference))
    if source is None:
        return None
    copy = AttributeProto()
    copy.CopyFrom(source)
    copy.name = attribute.name
    return copy


def _types(model: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}
    for tensor in graph.initializer:
        types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return types


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    used |= {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _no_form(node: NodeProto, opset: int) -> InputError:
    return InputError(
        f"export.opset {opset}: the operator {node.op_type} ({node.name or node.output[0]}) has no "
        f"form in it; take a higher one, {CAPTURED} or above"
    )
