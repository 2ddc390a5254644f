from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wfpipe.models.copying import copy_module, is_float32, to_float32
from wfpipe.support.errors import InputError


class Scaled(nn.Linear):
    """Keeps what it computed in the last call, as hooks do."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.weight * 2
        return x @ self.last.T


def test_a_network_that_holds_what_it_computed_can_be_copied() -> None:
    module = nn.Sequential(Scaled(4, 3))
    module(torch.rand(2, 4))
    duplicate = copy_module(module)
    duplicate.get_parameter("0.weight").data.zero_()
    assert bool(module.get_parameter("0.weight").any())


def test_a_network_that_cannot_be_copied_is_bad_input() -> None:
    module = nn.Linear(4, 3)
    vars(module)["source"] = (number for number in range(3))
    with pytest.raises(InputError, match="cannot copy the model"):
        copy_module(module)


def test_imaginary_parts_survive_the_cast_to_float32() -> None:
    module = nn.Linear(4, 3).double()
    module.register_buffer("turn", torch.tensor([1 + 2j], dtype=torch.complex128))
    assert not is_float32(module)
    to_float32(module)
    assert is_float32(module)
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.get_buffer("turn"), torch.tensor([1 + 2j], dtype=torch.complex64))
