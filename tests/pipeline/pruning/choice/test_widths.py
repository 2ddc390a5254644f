from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.choice.widths import Rules, choose, cost
from wfpipe.tests.reference import groups as reference

GROUPS = reference.small_groups()
COSTS = {"a": 3.0, "b": 1.0, "square": 0.5}
ALL = torch.ones(GROUPS.count, dtype=torch.bool)
LOSSES = torch.tensor([3.0, 1.0, 2.0, 9.0, 0.5, 4.0], dtype=torch.float64)


def test_costs_are_those_of_the_entries_that_stay():
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        keep = torch.rand(GROUPS.count, generator=generator) < 0.6
        wanted = 7.0 + reference.costs(GROUPS, COSTS, keep)
        assert cost(GROUPS, Rules(COSTS, 7.0), keep) == pytest.approx(wanted)


def test_each_choice_is_the_least_loss_for_what_it_frees():
    target, keep = 40.0, ALL.clone()
    while (now := reference.costs(GROUPS, COSTS, keep)) > target:
        prices = {}
        for group in keep.nonzero()[:, 0].tolist():
            last = int((keep & (GROUPS.widths == GROUPS.widths[group])).sum()) == 1
            after = keep.clone()
            after[group] = False
            if not last:
                prices[group] = float(LOSSES[group]) / (now - reference.costs(GROUPS, COSTS, after))
        keep[min(prices, key=lambda group: prices[group])] = False
    found = choose(LOSSES, GROUPS, Rules(COSTS), ALL, target)
    assert torch.equal(found, keep)
    assert cost(GROUPS, Rules(COSTS), found) <= target


def test_widths_that_are_cut_are_multiples():
    found = choose(LOSSES, GROUPS, Rules(COSTS, multiple=2), ALL, 50.0)
    for width, axis in enumerate(GROUPS.produced):
        length = int(GROUPS.kept(found)[axis].sum())
        whole = bool(found[GROUPS.widths == width].all())
        assert whole or length % 2 == 0


def test_every_width_keeps_its_share():
    found = choose(LOSSES, GROUPS, Rules(COSTS, least=0.6), ALL, 48.0)
    for width in (0, 1):
        assert int(found[GROUPS.widths == width].sum()) >= 2


def test_losses_are_divided_by_prices_and_the_target_is_in_costs():
    dear = choose(LOSSES, GROUPS, Rules(COSTS, prices={"norm": 1.0}), ALL, 80.0)
    assert cost(GROUPS, Rules(COSTS), dear) <= 80.0
    cheap = choose(
        LOSSES, GROUPS, Rules(COSTS, prices={"a": 3.0, "b": 1.0, "square": 0.5}), ALL, 40.0
    )
    assert torch.equal(cheap, choose(LOSSES, GROUPS, Rules(COSTS), ALL, 40.0))
    assert bool(dear[GROUPS.widths == 0].all())  # they free no entry of norm


def test_no_width_is_cut_below_the_fewest_channels():
    found = choose(LOSSES, GROUPS, Rules(COSTS, fewest=2), ALL, 48.0)
    for axis in GROUPS.produced:
        assert int(GROUPS.kept(found)[axis].sum()) >= 2


@pytest.mark.parametrize(
    "rules", [Rules(COSTS, least=0.9), Rules(COSTS, multiple=8), Rules(COSTS, fewest=8)]
)
def test_what_cannot_be_left_is_an_error_with_the_least_that_can(rules):
    with pytest.raises(ValueError, match="at least 92 is left"):
        choose(LOSSES, GROUPS, rules, ALL, 20.0)


def test_groups_that_are_gone_stay_gone():
    keep = ALL.clone()
    keep[0] = False
    found = choose(LOSSES, GROUPS, Rules(COSTS), keep, 60.0)
    assert not bool(found[0])
