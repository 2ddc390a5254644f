from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.reading.package_model import PackableModel, load_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import (
    CLASSES,
    linear_model,
    metadata,
    preprocessing,
)


def load(model: onnx.ModelProto) -> PackableModel:
    return load_model(model.SerializeToString(), "model 'a.onnx'")


def one_node(
    op: str,
    *,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    **attributes: object,
) -> onnx.ModelProto:
    node = helper.make_node(
        op, [value.name for value in inputs], [value.name for value in outputs], **attributes
    )
    graph = helper.make_graph([node], "one", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def value(
    name: str, shape: list[object] | None, kind: int = TensorProto.FLOAT
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def test_a_model_is_described_by_its_own_words() -> None:
    model = load_model(linear_model().SerializeToString(), "model")
    assert model.opset == 20
    assert (model.inputs[0].name, model.inputs[0].dtype) == ("input", "float32")
    assert model.inputs[0].shape == ("batch", 1, 4, 5)
    assert model.outputs[0].shape == ("batch", 3)
    assert model.preprocessing == preprocessing()
    assert model.class_names == CLASSES
    assert model.sparsity == 0.5
    assert model.recipe_digest == "d" * 64


def test_a_model_without_words_is_described_by_nulls() -> None:
    model = load_model(linear_model(props={}).SerializeToString(), "model")
    assert (model.preprocessing, model.class_names) == (None, None)
    assert (model.sparsity, model.recipe_digest) == (None, None)


def test_initializers_listed_among_the_inputs_are_no_inputs() -> None:
    proto = linear_model()
    proto.graph.input.append(value("fc.bias", [3]))
    assert load_model(proto.SerializeToString(), "model").inputs[0].name == "input"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x0a", b"\xff" * 100, b"PK\3\4aaaa"])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="model 'a' is not an ONNX model"):
        load_model(content, "model 'a'")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("wfpipe.preprocessing", "{"),
        ("wfpipe.preprocessing", '{"kind": "sound", "shape": [1]}'),
        ("wfpipe.preprocessing", '{"kind": "image", "shape": [1, 4, 5], "mean": [NaN]}'),
        ("wfpipe.preprocessing", '{"kind": "image", "shape": [1, 4, 5], "mean": [1e999]}'),
        ("wfpipe.preprocessing", '{"kind": "image", "shape": [1, 4, 5], "std": [0.0]}'),
        ("wfpipe.class_names", "cat, dog"),
        ("wfpipe.class_names", "[1, 2, 3]"),
        ("wfpipe.class_names", '["\\ud800"]'),
        ("wfpipe.class_names", "[" * 100_000),
        ("wfpipe.output", "no such output"),
        ("wfpipe.sparsity", "much"),
        ("wfpipe.sparsity", "nan"),
        ("wfpipe.sparsity", "1.5"),
    ],
)
def test_metadata_that_means_nothing_is_refused(key: str, text: str) -> None:
    props = {**metadata(preprocessing()), key: text}
    with pytest.raises(InputError, match=f"its metadata '{key}' cannot be used") as caught:
        load(linear_model(props=props))
    assert "\n" not in str(caught.value)


def test_inputs_and_outputs_are_read_in_order() -> None:
    left, right, total = (value(name, ["batch", 3]) for name in ("a", "b", "c"))
    model = load(one_node("Add", inputs=[left, right], outputs=[total]))
    assert [spec.name for spec in model.inputs] == ["a", "b"]
    model = load(one_node("Split", inputs=[left], outputs=[right, total], num_outputs=2, axis=1))
    assert [spec.name for spec in model.outputs] == ["b", "c"]


def test_a_model_without_inputs_or_with_very_many_is_refused() -> None:
    names = [value(f"x{number}", ["batch", 3]) for number in range(65)]
    with pytest.raises(InputError, match=r"has 65 inputs and 1 outputs: .* 1 to 64 of each"):
        load(one_node("Sum", inputs=names, outputs=[value("b", ["batch", 3])]))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (value("a", ["batch", 3], TensorProto.DOUBLE), "must be a batch of float32, int64"),
        (value("a", []), "must be a batch of float32, int64"),
        (value("a", [4, 3]), "takes 4 samples at once"),
        (value("a", None), "has no shape"),
        (helper.make_tensor_sequence_value_info("a", 1, [1]), "is not a tensor of a known type"),
    ],
)
def test_an_input_that_is_no_batch_is_refused(source: onnx.ValueInfoProto, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(one_node("Identity", inputs=[source], outputs=[value("b", ["batch", 3])]))


def outside(name: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    return tensor


def branch(tensor: TensorProto) -> onnx.GraphProto:
    node = helper.make_node("Constant", [], ["inner"], value=tensor)
    return helper.make_graph([node], "branch", [], [value("inner", [4])])


def in_initializer(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(outside("w"))


def in_sparse_initializer(model: onnx.ModelProto) -> None:
    indices = numpy_helper.from_array(np.arange(4), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(outside("w"), indices, [8]))


def in_attribute(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside("w")))


def in_subgraph(model: onnx.ModelProto) -> None:
    node = helper.make_node("If", ["x"], ["y"], then_branch=branch(outside("w")))
    model.graph.node.append(node)


def in_deep_subgraph(model: onnx.ModelProto) -> None:
    inner = branch(numpy_helper.from_array(np.ones(4, np.float32), "fine"))
    inner.initializer.append(outside("w"))
    middle = branch(numpy_helper.from_array(np.ones(4, np.float32), "fine"))
    middle.node.append(helper.make_node("Loop", [], ["z"], body=inner))
    model.graph.node.append(helper.make_node("If", ["x"], ["y"], else_branch=middle))


def in_function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Constant", [], ["c"], value=outside("w"))
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("local", "f", [], ["c"], [node], opsets))


def in_tensor_list(model: onnx.ModelProto) -> None:
    node = helper.make_node("Custom", [], ["c"])
    node.attribute.add(name="values", type=onnx.AttributeProto.TENSORS, tensors=[outside("w")])
    model.graph.node.append(node)


def in_training_info(model: onnx.ModelProto) -> None:
    model.training_info.add().initialization.initializer.append(outside("w"))


def by_key_alone(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(outside("w"))
    tensor.data_location = TensorProto.DEFAULT


@pytest.mark.parametrize(
    "place",
    [
        in_initializer, in_sparse_initializer, in_attribute, in_subgraph, in_deep_subgraph,
        in_function, in_tensor_list, in_training_info, by_key_alone,
    ],
)  # fmt: skip
def test_external_data_is_refused_wherever_it_is(place: Callable[[onnx.ModelProto], None]) -> None:
    model = linear_model()
    place(model)
    with pytest.raises(InputError, match="tensor 'w' is kept in another file"):
        load(model)


def test_a_node_that_loads_a_compiled_model_is_refused() -> None:
    model = linear_model()
    model.graph.node.append(
        helper.make_node("EPContext", [], ["c"], domain="com.microsoft", ep_cache_context="a.bin")
    )
    with pytest.raises(InputError, match="may load a compiled model from a file"):
        load(model)
