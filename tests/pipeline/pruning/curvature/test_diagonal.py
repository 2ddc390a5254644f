from __future__ import annotations

import torch

from wfpipe.pipeline.pruning.curvature.diagonal import DiagonalInverse


def test_solve_and_apply_undo_each_other():
    inverse = DiagonalInverse(torch.tensor([0.5, 2.0, 4.0], dtype=torch.float64))
    v = torch.tensor([1.0, -1.0, 3.0])
    assert inverse.apply(v).tolist() == [0.5, -2.0, 12.0]
    assert torch.equal(inverse.solve(inverse.apply(v)), v.double())
    assert inverse.group_loss(v, torch.tensor([[0, 2]])).tolist() == [0.25 + 18.0]
