from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from wfpipe.exporters.measuring import macs
from wfpipe.exporters.measuring.macs import macs_by_weight
from wfpipe.tests.exporters.networks import Array, write_graph, write_linear
from wfpipe.tests.exporters.variants.plain import write_plain


def test_convolutions_count_for_each_place_of_their_output(tmp_path: Path) -> None:
    assert macs_by_weight(write_plain(tmp_path / "model.onnx")) == {
        "conv1.weight": 16 * 3 * 3 * 3 * 6 * 6,  # 8 × 8 images, no padding
        "conv2.weight": 64 * 16 * 3 * 3 * 4 * 4,
        "fc.weight": 10 * 64,
    }


def test_a_fixed_batch_counts_as_one_sample(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.ones((4, 5)), batch=8)
    assert macs_by_weight(path) == {"fc.weight": 20}


def test_rows_groups_and_repeated_use_count(tmp_path: Path) -> None:
    def tensor(name: str, *shape: int) -> tuple[str, Array]:
        return name, np.ones(shape, np.float32)

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "rows"], ["a"]),
            helper.make_node("MatMul", ["left", "a"], ["b"]),
            helper.make_node("MatMul", ["b", "twice"], ["c"]),
            helper.make_node("MatMul", ["c", "twice"], ["d"]),
            helper.make_node("Conv", ["d", "grouped"], ["e"], group=6),
            helper.make_node("ConvTranspose", ["d", "up"], ["y"], strides=[2]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 7, 5])],
        [
            helper.make_tensor_value_info("e", TensorProto.FLOAT, ["batch", 6, 4]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2, None]),
        ],
        [
            numpy_helper.from_array(values, name)
            for name, values in (
                tensor("rows", 5, 4), tensor("left", 6, 7), tensor("twice", 4, 4),
                tensor("grouped", 6, 1, 1), tensor("up", 6, 2, 3),
            )
        ],
    )  # fmt: skip
    assert macs_by_weight(write_graph(tmp_path / "model.onnx", graph)) == {
        "rows": 7 * 5 * 4,
        "left": 6 * 7 * 4,
        "twice": 2 * 6 * 4 * 4,
        "grouped": 6 * 4,
        "up": 6 * 4 * 2 * 3,
    }


def graph_of(*nodes: NodeProto) -> GraphProto:
    return helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.ones((5, 4), np.float32), "w")],
    )


def test_nodes_that_are_odd_are_not_counted(tmp_path: Path) -> None:
    """Files from elsewhere: a node without outputs, a constant that is no tensor."""
    point = helper.make_node("Constant", [], ["zero"], value=1.0)
    point.attribute[0].name = "value"
    odd = graph_of(
        helper.make_node("MatMul", ["x", "w"], []),
        point,
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"]),
        helper.make_node("Relu", ["x"], ["y"]),
    )
    assert macs_by_weight(write_graph(tmp_path / "model.onnx", odd)) == {}


def test_with_many_tensors_and_inner_graphs_no_shape_is_inferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "g", [], [])
    graph = graph_of(
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("If", ["c"], [], then_branch=inner, else_branch=inner),
    )
    path = write_graph(tmp_path / "model.onnx", graph)
    assert macs_by_weight(path) == {"w": 20}
    monkeypatch.setattr(macs, "_MOST_LOOKS", 5)
    assert macs_by_weight(path) == {}


def test_shapes_that_cannot_be_are_not_used(tmp_path: Path) -> None:
    graph = graph_of(helper.make_node("MatMul", ["x", "w"], ["y"]))
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = -4
    assert macs_by_weight(write_graph(tmp_path / "model.onnx", graph)) == {}
