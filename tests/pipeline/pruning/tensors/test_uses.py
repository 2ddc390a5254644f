from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.pipeline.pruning.tensors.uses import Uses, watch_uses


class Net(nn.Module):
    """Weights of a user's own, used in many ways."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.rand(6, 6))
        self.right, self.turned = nn.Parameter(torch.rand(4, 8)), nn.Parameter(torch.rand(5, 8))
        self.heads = nn.Parameter(torch.rand(3, 5, 2))
        self.position = nn.Parameter(torch.rand(1, 6, 4))
        self.token = nn.Parameter(torch.rand(1, 4))
        self.masked, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)
        self.standardised = nn.Parameter(torch.rand(2, 2))
        self.words = nn.Embedding(7, 2)
        self.register_buffer("mask", torch.ones(2, 2))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.token.expand(len(x), 1, 4), x], 1) + self.position
        x = self.left @ x @ self.right @ self.turned.T
        x = torch.einsum("bti,hij->bthj", x, self.heads).sum(2)
        x = F.linear(x, self.masked.weight * self.mask)
        w = self.standardised - self.standardised.mean(1, keepdim=True)
        found: Tensor = x @ w + self.words(torch.zeros(len(x), 1, dtype=torch.long))
        return found


def seen_by(module: nn.Module, *inputs: Tensor) -> Uses:
    return watch_uses(module, lambda: module(*inputs))


def test_matrices_that_a_users_own_module_multiplies_with_are_told_from_all_else():
    uses = seen_by(Net(), torch.rand(2, 5, 4))
    assert uses.multiplied.keys() == {"left", "right", "turned", "heads"}
    assert uses.computed == {"masked.weight", "standardised"}
    assert uses.looked_up == {"words.weight"}
    assert "unused.weight" not in uses.seen
    assert {"position", "token"} <= uses.seen


def test_the_axis_that_is_summed_over_is_that_of_the_inputs():
    uses = seen_by(Net(), torch.rand(2, 5, 4))
    assert (uses.multiplied["right"], uses.multiplied["turned"]) == (0, 1)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
        (nn.ConvTranspose1d(2, 3, 2), (2, 2, 4)),
        (nn.LSTM(4, 3, num_layers=2, bidirectional=True), (2, 5, 4)),
        (nn.GRU(4, 3), (2, 5, 4)),
        (nn.LSTMCell(4, 3), (2, 4)),
        (nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), (2, 5, 4)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_matrices_of_layers_of_pytorch_are_seen(module: nn.Module, shape: tuple[int, ...]):
    uses = seen_by(module.eval(), torch.rand(shape))
    assert uses.multiplied.keys() == {n for n, p in module.named_parameters() if p.dim() > 1}
