from __future__ import annotations

import onnx
import torch
from torch import nn

from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.onnx.stored_names import stored_names
from wfpipe.tests.exporters.networks import convolutional


class Tied(nn.Module):
    """Two linear layers on tokens that share one weight, and one that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.idle = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(self.first(x).relu())
        return found.mean(dim=1)


def exported(module: nn.Module, example: torch.Tensor, path) -> dict[str, str]:
    export_onnx(module, example, path, opset=20, metadata={})
    return stored_names(onnx.load(path), dict(module.named_parameters()))


def test_weights_keep_their_names_where_batch_norms_are_folded_in(tmp_path):
    found = exported(convolutional(), torch.randn(2, 3, 8, 8), tmp_path / "a.onnx")
    for name in ("0.weight", "3.weight", "7.weight"):
        assert found[name] == name


def test_a_transposed_weight_that_two_layers_share_is_found_and_an_unused_one_is_not(tmp_path):
    path = tmp_path / "a.onnx"
    found = exported(Tied(), torch.randn(2, 3, 4), path)
    stored = {tensor.name for tensor in onnx.load(path).graph.initializer}
    assert found["first.weight"] in stored
    assert "idle.weight" not in found


def test_a_weight_under_another_name_is_found_by_its_content(tmp_path):
    path, module = tmp_path / "a.onnx", Tied()
    export_onnx(module, torch.randn(2, 3, 4), path, opset=20, metadata={})
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == "first.weight":
            tensor.name = "val_7"
    assert stored_names(model, {"first.weight": module.first.weight}) == {"first.weight": "val_7"}
