"""Small networks and small ONNX files for the tests beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

Array = np.ndarray[Any, Any]


def damaged(content: bytes, data: st.DataObject) -> bytes:
    """Change some bytes of a file and cut it short, as the data of a property test says."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    return bytes(changed[: data.draw(st.integers(0, len(changed)))])


class Pool(nn.Module):
    """The mean over all dimensions behind the channels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=tuple(range(2, x.dim())))


def settled(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give the batch norms of ``module`` the statistics of a trained network."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0, 0.1, generator=generator)
                layer.running_var.uniform_(0.5, 2.0, generator=generator)
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(0, 0.1, generator=generator)
    return module


def convolutional(seed: int = 0) -> nn.Sequential:
    """Two convolutions with batch norms and a linear layer, for inputs (n, 3, 8, 8)."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        Pool(),
        nn.Linear(6, 5),
    )
    settled(network, seed)
    return network


def prune_at_random(module: nn.Module, sparsity: float, seed: int = 0) -> dict[str, Tensor]:
    """Zero a share of each weight of two or more dimensions and return the masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.dim() > 1:
                masks[name] = torch.rand(weight.shape, generator=generator) >= sparsity
                weight.mul_(masks[name])
    return masks


def write_linear(path: Path, weight: Array, *, batch: str | int = "batch") -> Path:
    """Write ``logits = input @ weight.T``, the weight being ``fc.weight`` (classes, features)."""
    classes, features = weight.shape
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["input", "fc.weight"], ["logits"], transB=1)],
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weight.astype(np.float32), "fc.weight")],
    )
    return write_graph(path, graph)


def write_graph(path: Path, graph: onnx.GraphProto) -> Path:
    """Write a model of one graph."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path
