from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.models.copying import copy_module, to_float32
from wfpipe.pipeline.stages.as_it_came import check_repeatable, check_untouched
from wfpipe.support.errors import InputError


class Dropping(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.5)


def test_random_numbers_in_evaluation_mode_are_refused() -> None:
    x = torch.rand(8, 4)
    with pytest.raises(InputError, match="random numbers"):
        check_repeatable(Dropping(4, 3).eval(), x)
    check_repeatable(nn.Sequential(nn.Linear(4, 3), nn.Dropout()).eval(), x)


class ByType(nn.Linear):
    """Computes something else in float32."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + 1 if self.weight.dtype == torch.float64 else y


def test_a_network_that_computes_something_else_in_float32_is_refused() -> None:
    x = torch.rand(2, 4)
    for module in (nn.Linear(4, 3).double(), nn.Linear(4, 3).bfloat16()):
        check_untouched(module, to_float32(copy_module(module)), x)
    module = ByType(4, 3).double()
    with pytest.raises(InputError, match=r"torch\.float64, and in float32 it gives other"):
        check_untouched(module, to_float32(copy_module(module)), x)
