from __future__ import annotations

import pytest
import torch

from wfpipe.tests.reference.groups import entries, small_groups

GROUPS = small_groups()


def some(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in GROUPS.shapes.items()}


def test_sums_count_every_entry_of_a_group_once():
    values = some()
    wanted = [
        sum(float(values[name][place]) for name, place in entries(GROUPS, group))
        for group in range(GROUPS.count)
    ]
    assert GROUPS.sums(values).tolist() == pytest.approx(wanted, rel=1e-6)


def test_masks_are_false_at_the_entries_of_the_groups_that_go_and_nowhere_else():
    keep = torch.tensor([True, False, True, True, True, False])
    masks = GROUPS.masks(keep)
    gone = {entry for group in (1, 5) for entry in entries(GROUPS, group)}
    found = {
        (name, tuple(place)) for name, mask in masks.items() for place in (~mask).nonzero().tolist()
    }
    assert found == gone


def test_groups_are_read_off_their_masks():
    keep = torch.tensor([False, True, True, True, False, True])
    assert torch.equal(GROUPS.present(GROUPS.masks(keep)), keep)


def test_groups_without_a_width_keep_the_others():
    left = GROUPS.without([0])
    assert (left.count, left.produced, left.widths.tolist()) == (3, [("a", 0)], [0, 0, 0])
    assert ("a", 1) not in left.members
    assert left.members["b", 1].tolist() == [0, 1, 2]
    assert set(left.shapes) == {"a", "norm", "b"}
