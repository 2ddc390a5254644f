from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.reading.onnx_outline import LARGE_BYTES, parse_outline
from wfpipe.exporters.reading.package_model import parse_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import linear_model

ROWS = LARGE_BYTES // 4 // 3 + 7


def model() -> onnx.ModelProto:
    """A linear layer whose weight is large and whose bias is small."""
    weight = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["input", "weight", "bias"], ["logits"], name="fc")],
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", ROWS])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.zeros(3, np.float32), "bias"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(made, {"key": "value"})
    return made


def test_all_but_large_values_is_there() -> None:
    whole = parse_model(model().SerializeToString(), "model")
    outline = parse_outline(model().SerializeToString(), "model")
    weight, bias = outline.graph.initializer
    assert (list(weight.dims), weight.raw_data, weight.name) == ([0], b"", "weight")
    assert bias == whole.graph.initializer[1]
    del outline.graph.initializer[:], whole.graph.initializer[:]
    assert outline == whole


def test_a_small_model_is_parsed_as_it_is() -> None:
    content = linear_model().SerializeToString()
    assert parse_outline(content, "model") == parse_model(content, "model")


def refused(proto: onnx.ModelProto, extra: bytes = b"") -> str:
    with pytest.raises(InputError) as caught:
        parse_outline(proto.SerializeToString() + extra, "model")
    return str(caught.value)


@pytest.mark.parametrize("dims", [[ROWS, 2], [ROWS, 4], [1 << 40, 3], [-1, 3], []])
def test_a_shape_that_does_not_fit_the_values_is_refused(dims: list[int]) -> None:
    proto = model()
    del proto.graph.initializer[0].dims[:]
    proto.graph.initializer[0].dims.extend(dims)
    assert "tensor 'weight' cannot be read" in refused(proto)


def test_values_in_two_fields_are_refused() -> None:
    proto = model()
    proto.graph.initializer[0].float_data.extend([1.0, 2.0])
    assert "tensor 'weight' cannot be read" in refused(proto)


def test_values_of_no_number_are_refused() -> None:
    proto = model()
    proto.graph.initializer[0].data_type = TensorProto.STRING
    assert "tensor 'weight' cannot be read" in refused(proto)


def test_values_given_twice_are_refused() -> None:
    """Protobuf takes the last of two fields, so a copy of the first could hide."""
    proto = model()
    tensor = proto.graph.initializer[0]
    both = tensor.SerializeToString() + TensorProto(raw_data=tensor.raw_data).SerializeToString()
    del proto.graph.initializer[0]
    graph = onnx.GraphProto()
    field = onnx.GraphProto.INITIALIZER_FIELD_NUMBER << 3 | 2
    content = bytes([field]) + varint(len(both)) + both + graph.SerializeToString()
    outer = bytes([onnx.ModelProto.GRAPH_FIELD_NUMBER << 3 | 2]) + varint(len(content)) + content
    assert "tensor 'weight' cannot be read" in refused(proto, outer)


def test_a_graph_in_two_parts_is_one() -> None:
    proto = model()
    second = onnx.ModelProto()
    second.graph.initializer.append(proto.graph.initializer[1])
    del proto.graph.initializer[1]
    content = proto.SerializeToString() + second.SerializeToString()
    assert [t.name for t in parse_outline(content, "model").graph.initializer] == ["weight", "bias"]


def varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])
