from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.criteria.group_losses import GroupRows, squares
from wfpipe.tests.reference.groups import entries, small_groups

GROUPS = small_groups()
ROWS = 5


def normal(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in GROUPS.shapes.items()
    }


WEIGHTS = normal(0)
GRADIENTS = [normal(1 + row) for row in range(ROWS)]


def products(group: int, row: int) -> list[float]:
    return [
        float(WEIGHTS[name][place] * GRADIENTS[row][name][place])
        for name, place in entries(GROUPS, group)
    ]


WANTED = {
    "woodfisher": lambda group: sum(sum(products(group, i)) ** 2 for i in range(ROWS)) / ROWS / 2,
    "woodtaylor": lambda group: (
        sum(sum(products(group, i)) ** 2 / 2 - sum(products(group, i)) for i in range(ROWS)) / ROWS
    ),
    "diag-fisher": lambda group: (
        sum(p**2 for i in range(ROWS) for p in products(group, i)) / ROWS / 2
    ),
}


@pytest.mark.parametrize("kind", WANTED)
def test_losses_are_those_of_the_quadratic_model_entry_by_entry(kind):
    rows = GroupRows(WEIGHTS, GROUPS, ROWS, kind)
    for number, row in enumerate(GRADIENTS):
        rows.write(number, [row[name] for name in WEIGHTS])
    wanted = [WANTED[kind](group) for group in range(GROUPS.count)]
    assert rows.losses().tolist() == pytest.approx(wanted, rel=1e-9)


def test_squares_are_those_of_the_weights_of_a_group():
    wanted = [
        sum(float(WEIGHTS[name][place]) ** 2 for name, place in entries(GROUPS, group))
        for group in range(GROUPS.count)
    ]
    assert squares(WEIGHTS, GROUPS).tolist() == pytest.approx(wanted)
