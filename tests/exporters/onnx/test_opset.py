from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from wfpipe.exporters.onnx.capture import capture_graph, evaluation_copy
from wfpipe.exporters.onnx.clean import name_axes
from wfpipe.exporters.onnx.dynamic import axes_of, resized
from wfpipe.exporters.onnx.opset import lower_opset
from wfpipe.exporters.onnx.parity import check_parity
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import settled


class Attention(nn.Module):
    """Nodes of newer operators: LayerNormalization, Mish, and reductions whose axes are inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        parts = nn.functional.mish(self.layer(x)).chunk(2, dim=1)
        scores: Tensor = self.head((parts[0] + parts[1]).mean(1))
        return scores


def pictures() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1)),
        *(nn.Hardswish(), nn.GroupNorm(2, 8), nn.Upsample(scale_factor=2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )


@pytest.fixture(scope="module", params=["pictures", "attention"])
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, list[str]]:
    """A network, samples, and which of their sizes are free."""
    random = torch.Generator().manual_seed(0)
    if request.param == "pictures":
        return settled(pictures()), torch.randn(4, 3, 16, 16, generator=random), ["height", "width"]
    return settled(Attention()), torch.randn(4, 6, 8, generator=random), []


@pytest.fixture(scope="module")
def captured(network: tuple[nn.Module, Tensor, list[str]]) -> onnx.ModelProto:
    module, samples, names = network
    return capture_graph(evaluation_copy(module), samples, ["y"], opset=18, dynamic=names)


@pytest.mark.parametrize("opset", [13, 14, 15, 16, 17])
def test_files_of_older_operator_sets_compute_the_same_at_every_free_size(
    tmp_path: Path,
    network: tuple[nn.Module, Tensor, list[str]],
    captured: onnx.ModelProto,
    opset: int,
) -> None:
    module, samples, names = network
    model, path = onnx.ModelProto(), tmp_path / "model.onnx"
    model.CopyFrom(captured)
    lower_opset(model, opset)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert model.ir_version == helper.find_min_ir_version_for(model.opset_import)
    for given in (samples, resized(samples, names)):
        check_parity(path, module, given, tolerance=1e-5)


def test_free_sizes_get_their_names(
    network: tuple[nn.Module, Tensor, list[str]], captured: onnx.ModelProto
) -> None:
    axes = axes_of(network[2], network[1].dim())
    model = onnx.ModelProto()
    model.CopyFrom(captured)
    name_axes(model, network[2])
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert {i: dim.dim_param for i, dim in enumerate(dims) if dim.dim_param} == axes
    assert model.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def one_node(operator: str, inputs: int, **attributes: object) -> onnx.ModelProto:
    names = [f"x{i}" for i in range(inputs)]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1, 4, 4]) for n in names]
    node = helper.make_node(operator, names, ["y"], name="node", **attributes)
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "graph", values, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def test_operators_without_an_older_form_are_named() -> None:
    with pytest.raises(InputError, match=r"export\.opset 13: the operator GridSample \(node\) has"):
        lower_opset(one_node("GridSample", 2), 13)


def test_attributes_that_the_older_operator_lacks_are_dropped_only_if_they_say_nothing() -> None:
    model = one_node("Resize", 3, antialias=0)
    lower_opset(model, 13)
    assert [a.name for a in model.graph.node[0].attribute] == []
    with pytest.raises(InputError, match="the operator Resize"):
        lower_opset(one_node("Resize", 3, antialias=1), 13)


def test_axes_that_are_computed_cannot_become_an_attribute() -> None:
    with pytest.raises(InputError, match="the operator ReduceMean"):
        lower_opset(one_node("ReduceMean", 2), 13)
