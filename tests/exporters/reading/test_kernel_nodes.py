from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.reading import onnx_outline
from wfpipe.exporters.reading.package_model import load_model, parse_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.kernel_samples import kernel_models, model, node
from wfpipe.tests.exporters.reading.test_onnx_limits import in_function, in_subgraph, in_training

Array = np.ndarray[Any, Any]
GOOD: dict[str, Any] = {
    "in_channels": 8, "kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "input_size": [5, 5]
}  # fmt: skip
TENSORS: dict[str, Array] = {
    "w.values": np.ones(4, np.float32),
    "w.gaps": np.array([0, 71, 3, 1], np.uint8),
    "w.rows": np.array([0, 2, 2, 4], np.int32),
    "w.bias": np.ones(3, np.float32),
}
NAMES = ["t", "w.values", "w.gaps", "w.rows", "w.bias"]


def layer(
    *, names: list[str] | None = None, tensors: dict[str, Array] | None = None, **changes: Any
) -> onnx.ModelProto:
    """A SparseConv of 8 to 3 channels between tiles; an attribute of None is left out."""
    found = {key: value for key, value in (GOOD | changes).items() if value is not None}
    nodes = [
        node("ToTiles", ["input"], "t"),
        node("SparseConv", names or NAMES, "u", **found),
        node("FromTiles", ["u"], "logits", spatial=[5, 5]),
    ]
    return model(nodes, ["batch", 8, 5, 5], TENSORS | (tensors or {}), ["batch", 3, 5, 5])


def refused(proto: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the error of a model, which must be the same where large values are left out."""
    content = proto.SerializeToString()
    monkeypatch.setattr(onnx_outline, "LARGE_BYTES", 2)
    lines = []
    for read in (parse_model, load_model):
        with pytest.raises(InputError) as caught:
            read(content, "model 'a.onnx'")
        lines.append(str(caught.value))
    assert lines[0] == lines[1]
    assert "\n" not in lines[0]
    return lines[0]


@pytest.mark.parametrize("large", [2, 1 << 16])
def test_models_of_all_operators_are_accepted(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_outline, "LARGE_BYTES", large)
    for content in (*kernel_models(), layer().SerializeToString()):
        assert parse_model(content, "model").graph.node
        load_model(content, "model")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"in_channels": None}, "in_channels must be in 1 to 16777216, got 0"),
        ({"in_channels": 2**40}, "in_channels must be in"),
        ({"in_channels": 7}, "an entry is in column 71 of a weight of 63"),
        ({"group": 3}, "group must divide 8 and 3 channels, got 3"),
        ({"group": 0}, "group must divide"),
        ({"group": -8}, "group must divide"),
        ({"kernel_shape": None}, "kernel_shape must have one or two entries, got 0"),
        ({"kernel_shape": [3, 3, 3]}, "kernel_shape must have one or two entries, got 3"),
        ({"kernel_shape": [9, 9]}, "its kernel is larger than the padded input"),
        ({"kernel_shape": [0, 3]}, "kernel_shape must be in 1 to 4096, got 0"),
        ({"kernel_shape": [4096, 4096], "pads": [9999] * 4}, "more than 16384 positions"),
        ({"strides": [1]}, "strides must have 2 entries, got 1"),
        ({"strides": [0, 1]}, "strides must be in"),
        ({"pads": [1, 1]}, "pads must have 4 entries, got 2"),
        ({"pads": [-1, 1, 1, 1]}, "pads must be in"),
        ({"pads": [2**62, 1, 1, 1]}, "pads must be in"),
        ({"dilations": [2**62, 1]}, "dilations must be in"),
        ({"input_size": None}, "input_size is missing"),
        ({"input_size": [2**24, 2**24]}, "more than 67108864 positions"),
        ({"input_size": [-5, 5]}, "input_size must be in"),
        ({"activation": "softmax"}, "activation must be one of clip, gelu"),
        ({"activation": "relu\0"}, "activation must be one of"),
        ({"activation": "clip", "low": 2.0, "high": 1.0}, "low must not be above high"),
        ({"activation": "relu", "low": float("nan")}, "low must not be above high"),
        ({"activation": 3}, "the attribute 'activation' of that type"),
        ({"strides": 1}, "the attribute 'strides' of that type"),
        ({"path": "x.so"}, "the attribute 'path' of that type is none that it has"),
        ({"kernel_shape": [1, 1], "pads": None, "input_size": None}, "column 71 of a weight of 8"),
        ({"in_channels": 2**24, "kernel_shape": [64, 64], "pads": [64] * 4},
         "the number of columns must be in"),
    ],
)  # fmt: skip
def test_attributes_that_break_a_rule_are_refused(
    changes: dict[str, Any], rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused(layer(**changes), monkeypatch)
    assert line.startswith("model 'a.onnx': node 'u', 'SparseConv' of 'wfpipe': ")
    assert rule in line


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("values", np.ones(3, np.float32), "lists of one length"),
        ("values", np.ones((4, 1), np.float32), "lists of one length"),
        ("values", np.ones(4, np.float64), "values must be float or float16"),
        ("gaps", np.array([0, 71, 3, 1], np.int8), "gaps must be uint8"),
        ("rows", np.array([0, 2, 2, 4], np.int64), "rows must be int32"),
        ("gaps", np.array([0, 72, 3, 1], np.uint8), "column 72 of a weight of 72"),
        ("gaps", np.array([72, 0, 3, 1], np.uint8), "a gap behind the first of a row is 0"),
        ("rows", np.array([1, 2, 2, 4], np.int32), "rows must begin with 0 and end with 4"),
        ("rows", np.array([0, 2, 2, 5], np.int32), "rows must begin with 0 and end with 4"),
        ("rows", np.array([0, 3, 2, 4], np.int32), "rows must not fall"),
        ("rows", np.array([0, 9, 2, 4], np.int32), "rows must not fall"),
        ("rows", np.array([0, -(2**31), 2**31 - 1, 4], np.int32), "rows must not fall"),
        ("rows", np.array([4], np.int32), "rows one of two or more"),
        ("rows", np.zeros(0, np.int32), "rows one of two or more"),
        ("bias", np.ones(4, np.float32), "bias must have a value for each of 3 channels"),
        ("bias", np.ones((3, 1), np.float32), "bias must have a value for each"),
        ("bias", np.ones(3, np.float16), "bias must be float"),
    ],
)
def test_tensors_that_break_a_rule_are_refused(
    name: str, value: Array, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rule in refused(layer(tensors={f"w.{name}": value}), monkeypatch)


def test_a_gap_of_0_begins_a_row_and_rows_may_be_empty() -> None:
    tensors: dict[str, Any] = {
        "w.values": np.ones(3, np.float32),
        "w.gaps": np.array([0, 1, 0], np.uint8),
        "w.rows": np.array([0, 0, 2, 3], np.int32),
    }
    assert parse_model(layer(tensors=tensors).SerializeToString(), "model")
    tensors = {
        "w.values": np.ones(0, np.float16),
        "w.gaps": np.ones(0, np.uint8),
        "w.rows": np.zeros(4, np.int32),
    }
    assert parse_model(layer(tensors=tensors).SerializeToString(), "model")


def _computed(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].input[1] = "t"


def _an_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("w.gaps", TensorProto.UINT8, [4]))


def _twice(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(proto.graph.initializer[1])


@pytest.mark.parametrize("change", [_computed, _an_input, _twice])
def test_tensors_that_may_change_are_refused(
    change: Callable[[onnx.ModelProto], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = layer()
    change(proto)
    line = refused(proto, monkeypatch)
    assert " must be an initializer, the one of its name, and no input" in line


def test_numbers_that_are_no_raw_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = layer()
    gaps = helper.make_tensor("w.gaps", TensorProto.UINT8, [4], [0, 71, 3, 1])
    assert not gaps.raw_data
    proto.graph.initializer[1].CopyFrom(gaps)
    assert "must be stored as raw bytes" in refused(proto, monkeypatch)


def test_tensors_in_other_files_are_refused() -> None:
    proto = layer()
    gaps = proto.graph.initializer[1]
    gaps.ClearField("raw_data")
    gaps.data_location = TensorProto.EXTERNAL
    gaps.external_data.add(key="location", value="weights.bin")
    with pytest.raises(InputError, match="gaps must be in the model's file"):
        parse_model(proto.SerializeToString(), "model")


@pytest.mark.parametrize("place", [in_subgraph, in_function, in_training])
def test_nodes_elsewhere_than_in_the_graph_are_refused(
    place: Callable[[onnx.ModelProto, onnx.NodeProto], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = layer()
    place(proto, node("ToTiles", ["x"], "y"))
    assert "they may stand in the model's graph alone" in refused(proto, monkeypatch)


def test_a_function_under_the_name_of_an_operator_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proto = layer()
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opsets = [helper.make_opsetid("", 20)]
    proto.functions.append(helper.make_function("wfpipe", "ToTiles", ["x"], ["y"], body, opsets))
    assert "has a function of the domain 'wfpipe'" in refused(proto, monkeypatch)


@pytest.mark.parametrize("versions", [[], [2], [1, 2]])
def test_other_versions_of_the_operators_are_refused(
    versions: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = layer()
    del proto.opset_import[1]
    proto.opset_import.extend(helper.make_opsetid("wfpipe", version) for version in versions)
    assert "this program knows version 1" in refused(proto, monkeypatch)


def test_layers_that_grow_out_of_proportion_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes can stand for a weight of 300 megabytes."""
    changes: dict[str, Any] = {"in_channels": 2**20, "kernel_shape": [3, 3]}
    assert "its sparse layers grow to more than" in refused(layer(**changes), monkeypatch)


W = np.ones((8, 1, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("operator", "inputs", "changes", "rule"),
    [
        ("Evil", ["t"], {}, "the operators are ToTiles, FromTiles, SparseConv"),
        ("TilePool", ["t"], {"kind": "median"}, "kind must be max or average"),
        ("TilePool", ["t"], {"kind": "max", "count_include_pad": 2}, "count_include_pad must be"),
        ("TilePool", ["t", "t"], {"kind": "max"}, "it must have 1 inputs"),
        ("TilePool", ["t"], {"kind": "max", "input_size": []}, "input_size is missing"),
        ("TilePool", ["t"], {"kind": "max", "in_channels": 8}, "the attribute 'in_channels'"),
        ("TileDepthwise", ["t"], {}, "it must have 2 to 4 inputs"),
        ("TileDepthwise", ["t", ""], {}, "it must have 2 to 4 inputs, the first 2 of them named"),
        ("TileDepthwise", ["t", "w"], {"group": 4}, "group must be in 8 to 8, got 4"),
        ("TileDepthwise", ["t", "w.bias"], {}, r"W must be of [channels, 1, *kernel_shape]"),
        ("TileDepthwise", ["t", "w", "w.bias"], {}, "bias must have a value for each of 8"),
        ("TileGlobalAverage", ["t"], {}, "the attribute 'kernel_shape' of that type"),
    ],
)
def test_other_operators_that_break_a_rule_are_refused(
    operator: str,
    inputs: list[str],
    changes: dict[str, Any],
    rule: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proto = layer(tensors={"w": W})
    found = {"kernel_shape": [3, 3], "input_size": [5, 5], **changes}
    proto.graph.node.append(node(operator, inputs, "z", **{k: v for k, v in found.items() if v}))
    assert rule in refused(proto, monkeypatch)


@pytest.mark.parametrize(
    ("operator", "inputs", "found", "rule"),
    [
        ("TileGlobalAverage", ["t"], {}, "input_size must have one or two entries, got 0"),
        ("TileGlobalAverage", ["t"], {"input_size": [0, 5]}, "input_size must be in"),
        ("TileGlobalAverage", ["t"], {"input_size": [2**24] * 2}, "the number of positions"),
        ("FromTiles", ["t"], {"spatial": [0]}, "spatial must be in 1 to 16777216, got 0"),
        ("FromTiles", ["t"], {"spatial": [5, 5, 1]}, "spatial must have at most two entries"),
        ("FromTiles", ["t"], {"channels_last": 1}, "shape is missing"),
        ("FromTiles", ["t", ""], {"channels_last": 1}, "shape is missing"),
        ("ToTiles", ["input"], {"channels_last": 2}, "channels_last must be in 0 to 1, got 2"),
    ],
)
def test_layouts_that_break_a_rule_are_refused(
    operator: str,
    inputs: list[str],
    found: dict[str, Any],
    rule: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proto = layer()
    proto.graph.node.append(node(operator, inputs, "z", **found))
    assert rule in refused(proto, monkeypatch)


def test_an_attribute_that_is_there_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = layer()
    proto.graph.node[1].attribute.append(helper.make_attribute("in_channels", 8))
    assert "the attribute 'in_channels' is there twice" in refused(proto, monkeypatch)


def test_a_node_without_a_name_of_two_outputs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = layer()
    proto.graph.node[1].output.append("v")
    assert "node 'u', 'SparseConv' of 'wfpipe': it must have one output" in refused(
        proto, monkeypatch
    )


def test_large_tensors_are_checked_where_only_an_outline_is_read() -> None:
    """The places of a weight of more bytes than an outline keeps."""
    count = onnx_outline.LARGE_BYTES + 1
    tensors: dict[str, Any] = {
        "w.values": np.ones(count, np.float32),
        "w.gaps": np.ones(count, np.uint8),
        "w.rows": np.array([0, count, count, count], np.int32),
    }
    changes: dict[str, Any] = {"kernel_shape": [1, 1], "pads": None}
    good = layer(tensors=tensors, in_channels=count + 1, **changes)
    load_model(good.SerializeToString(), "model")
    bad = layer(tensors=tensors, in_channels=count, **changes)
    with pytest.raises(InputError, match=f"column {count} of a weight of {count}"):
        load_model(bad.SerializeToString(), "model")
    assert numpy_helper.to_array(good.graph.initializer[1]).nbytes > onnx_outline.LARGE_BYTES
