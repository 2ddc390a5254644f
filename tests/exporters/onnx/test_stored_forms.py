"""Weights whose order an exporter changes: found by name, and their zeros those of the masks."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.onnx.parity import check_parity
from wfpipe.exporters.onnx.zeros import check_zeros, layer_figures
from wfpipe.support.errors import CheckFailed


class Last(nn.Module):
    """A recurrent layer, and a linear one on what it gives last."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.layer(x)[0][:, -1])
        return output


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(8, 8, 160)
        self.head = nn.Linear(160, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.layer(x, x).mean(1))
        return output


NETWORKS = {
    "lstm": lambda: Last(nn.LSTM(8, 64, batch_first=True)),  # so large that it is left in pieces
    "gru of two directions": lambda: Last(nn.GRU(8, 6, batch_first=True, bidirectional=True)),
    "rnn": lambda: Last(nn.RNN(8, 6, batch_first=True)),
    "bilinear": Pair,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_zeros_of_reordered_weights_are_those_of_the_masks(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    matrices = {n: p.detach() for n, p in network.named_parameters() if p.dim() > 1}
    masks = {n: torch.rand(p.shape) < 0.5 for n, p in matrices.items()}
    for n, weight in matrices.items():
        weight.mul_(masks[n])
    path = tmp_path / "model.onnx"
    export_onnx(network, torch.rand(2, 5, 8), path, opset=18, metadata={})
    count = check_zeros(path, masks, matrices)
    assert (count.tensors, count.dead) == (len(masks), 0)
    figures = layer_figures(path)
    assert {layer.name for layer in figures} == {n for n in matrices if "reverse" not in n}
    assert sum(round(_size(f.shape) * f.sparsity) for f in figures) == count.pruned
    check_parity(path, network, torch.rand(64, 5, 8), tolerance=1e-5)
    wrong = {**masks, "layer." + _first(network): ~masks["layer." + _first(network)]}
    with pytest.raises(CheckFailed, match="differ from its mask"):
        check_zeros(path, wrong, matrices)


def _first(network: nn.Module) -> str:
    return next(name for name, _ in network.get_submodule("layer").named_parameters())


def _size(shape: tuple[int, ...]) -> int:
    return int(torch.Size(shape).numel())


def test_steps_of_a_recurrence_share_one_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(NETWORKS["rnn"](), torch.rand(2, 5, 8), path, opset=18, metadata={})
    matrices = [t for t in onnx.load(path).graph.initializer if len(t.dims) > 1]
    assert len(matrices) == 3
