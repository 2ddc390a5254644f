from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.choice.allocation import Allocation, allocate
from wfpipe.pipeline.pruning.choice.limits import Limits
from wfpipe.pipeline.pruning.choice.patterns import Units, single_weights
from wfpipe.pipeline.pruning.choice.water_filling import pruned_count, shares
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.tests.reference import masks as reference

LAYOUT = Layout({"a": torch.empty(3, 7), "b": torch.empty(13), "c": torch.empty(2, 2, 5)})
COSTS = {"a": 64.0, "b": 4.0, "c": 1.0}
ALLOCATIONS = tuple(each for each in get_args(Allocation) if each != "latency")
"""All that share a sparsity; latency is given one for each layer (test_knapsack.py)."""
SEEDS = st.integers(0, 10**6)


def scores_and_mask(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 6, (LAYOUT.total,), generator=generator).float()
    return scores, torch.rand(LAYOUT.total, generator=generator) < 0.8


def index_of(unit: Units) -> torch.Tensor:
    assert unit.index is not None
    return unit.index


def grouped(seed: int, keep: torch.Tensor) -> list[Units]:
    """Units of one to four of the weights present, some weights in none."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for name, place in LAYOUT.places.items():
        free = (torch.nonzero(keep[place])[:, 0] + place.start).tolist()
        for size in (4, 3, 1):
            count = int(torch.randint(0, len(free) // size + 1, (), generator=generator))
            index = torch.tensor(free[: count * size], dtype=torch.int64).view(count, size)
            free = free[count * size :]
            loss = torch.randint(0, 5, (count,), generator=generator).double() * size
            found.append(Units(name, loss, index))
    return found


def zeros(mask: torch.Tensor) -> dict[str, int]:
    return {name: int((~part).sum()) for name, part in LAYOUT.split(mask).items()}


def remaining_macs(mask: torch.Tensor) -> float:
    return sum(COSTS[name] * int(part.sum()) for name, part in LAYOUT.split(mask).items())


DENSE = torch.ones(LAYOUT.total, dtype=torch.bool)
DENSE_MACS = remaining_macs(DENSE)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@settings(deadline=None)
@given(seed=SEEDS, sparsity=st.floats(0.0, 0.999))
def test_sparsity_is_met_to_the_weight(allocation, seed, sparsity):
    scores, keep = scores_and_mask(seed)
    for present in (DENSE, keep):
        reached = max(sparsity, 1 - float(present.float().mean()))
        units = single_weights(scores, LAYOUT)
        new = allocate(units, present, reached, LAYOUT, allocation, Limits(costs=COSTS))
        assert int((~new).sum()) == pruned_count(reached, LAYOUT.total)
        assert not bool((new & ~present).any())


@settings(deadline=None)
@given(seed=SEEDS, sparsity=st.floats(0.6, 0.99))
def test_global_prunes_the_lowest_scores(seed, sparsity):
    scores, keep = scores_and_mask(seed)
    new = allocate(single_weights(scores, LAYOUT), keep, sparsity, LAYOUT)
    order = sorted(range(LAYOUT.total), key=lambda i: (bool(keep[i]), float(scores[i]), i))
    expected = set(order[: pruned_count(sparsity, LAYOUT.total)])
    assert set(torch.nonzero(~new).flatten().tolist()) == expected


@settings(deadline=None)
@given(seed=SEEDS, part=st.floats(0, 1))
def test_units_of_several_sizes_go_in_order_until_one_does_not_fit(seed, part):
    _, keep = scores_and_mask(seed)
    units = grouped(seed, keep)
    flat = [(float(x), u.size, i) for u in units for x, i in zip(u.loss, index_of(u), strict=True)]
    low = int((~keep).sum())
    count = low + int(part * sum(size for _, size, _ in flat))
    new = allocate(units, keep, count / LAYOUT.total, LAYOUT)
    chosen = reference.global_choice(
        [loss for loss, _, _ in flat], [size for _, size, _ in flat], count - low
    )
    expected = keep.clone()
    for i in chosen:
        expected[flat[i][2]] = False
    assert torch.equal(new, expected)
    assert count - 4 < int((~new).sum()) <= count


@settings(deadline=None)
@given(seed=SEEDS, part=st.floats(0, 1), allocation=st.sampled_from(["uniform", "erk"]))
def test_layers_share_units_to_within_one_and_zeros_are_never_too_many(seed, part, allocation):
    _, keep = scores_and_mask(seed)
    units = [unit for unit in grouped(seed, keep) if unit.size == 4]
    low, room = int((~keep).sum()), sum(index_of(unit).numel() for unit in units)
    count = low + int(part * room)
    new = allocate(units, keep, count / LAYOUT.total, LAYOUT, allocation)
    assert count - 4 < int((~new).sum()) <= count
    for unit in units:
        gone = (~new[index_of(unit)]).all(1)
        assert bool((gone | new[index_of(unit)].all(1)).all())
        if bool(gone.any()) and not bool(gone.all()):
            assert float(unit.loss[gone].max()) <= float(unit.loss[~gone].min())


def test_uniform_prunes_every_layer_alike():
    scores, _ = scores_and_mask(0)
    new = allocate(single_weights(scores, LAYOUT), DENSE, 0.5, LAYOUT, "uniform")
    for name, size in LAYOUT.sizes.items():
        assert abs(zeros(new)[name] - 0.5 * size) < 1


@settings(deadline=None)
@given(seed=SEEDS, sparsity=st.floats(0.01, 0.98))
def test_erk_gives_the_densities_of_a_direct_loop(seed, sparsity):
    scores, _ = scores_and_mask(seed)
    new = allocate(single_weights(scores, LAYOUT), DENSE, sparsity, LAYOUT, "erk")
    shapes = {name: tuple(shape) for name, shape in LAYOUT.shapes.items()}
    density = 1 - pruned_count(sparsity, LAYOUT.total) / LAYOUT.total
    for name, wanted in reference.erk_densities(shapes, density).items():
        assert abs(LAYOUT.sizes[name] * (1 - wanted) - zeros(new)[name]) < 1 + 1e-6
    assert sum(zeros(new).values()) == pruned_count(sparsity, LAYOUT.total)


@settings(deadline=None)
@given(seed=SEEDS, power=st.floats(0, 3), sparsity=st.floats(0, 0.99))
def test_flops_ranks_losses_per_cost(seed, power, sparsity):
    scores, _ = scores_and_mask(seed)
    new = allocate(
        single_weights(scores, LAYOUT),
        DENSE,
        sparsity,
        LAYOUT,
        "flops",
        Limits(costs=COSTS, cost_power=power),
    )
    divided = torch.cat(
        [scores[place].double() / COSTS[name] ** power for name, place in LAYOUT.places.items()]
    )
    order = torch.argsort(divided, stable=True)[: pruned_count(sparsity, LAYOUT.total)]
    assert torch.equal(torch.nonzero(~new)[:, 0], order.sort().values)


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@settings(deadline=None)
@given(seed=SEEDS, share=st.floats(0.05, 0.75))
def test_a_target_in_macs_is_met_to_one_weight_and_decides(allocation, seed, share):
    scores, keep = scores_and_mask(seed)
    share = min(share, remaining_macs(keep) / DENSE_MACS)
    limits = Limits(costs=COSTS, max_macs=share)
    new = allocate(single_weights(scores, LAYOUT), keep, 0.5, LAYOUT, allocation, limits)
    step = max(COSTS.values()) if allocation in ("global", "flops") else sum(COSTS.values())
    assert remaining_macs(new) <= share * DENSE_MACS * (1 + 1e-9)
    assert remaining_macs(new) > share * DENSE_MACS - step - 1e-6
    assert not bool((new & ~keep).any())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_a_target_in_macs_is_met_within_half_a_percent(allocation):
    layout = Layout({"first": torch.empty(16, 3, 3, 3), "last": torch.empty(64, 64, 3, 3)})
    costs = {"first": 1024.0, "last": 64.0}
    scores = torch.rand(layout.total, generator=torch.Generator().manual_seed(0))
    keep = torch.ones(layout.total, dtype=torch.bool)
    for share in (0.8, 0.5, 0.2):
        limits = Limits(costs=costs, max_macs=share, fixed_macs=1e5)
        new = allocate(single_weights(scores, layout), keep, 0.0, layout, allocation, limits)
        macs = 1e5 + sum(costs[n] * int(m.sum()) for n, m in layout.split(new).items())
        dense = 1e5 + sum(costs[n] * size for n, size in layout.sizes.items())
        assert 0.995 * share <= macs / dense <= share


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@settings(deadline=None)
@given(seed=SEEDS, floor=st.floats(0.0, 0.5), override=st.floats(0, 0.5), part=st.floats(0, 1))
def test_floors_and_overrides_hold_and_the_sparsity_is_met(allocation, seed, floor, override, part):
    scores, _ = scores_and_mask(seed)
    limits = Limits({"b": override}, floor=floor, costs=COSTS)
    most = {name: int(size * (1 - floor)) for name, size in LAYOUT.sizes.items()}
    fixed = min(pruned_count(override, LAYOUT.sizes["b"]), most.pop("b"))
    count = fixed + int(part * sum(most.values()))
    new = allocate(
        single_weights(scores, LAYOUT), DENSE, count / LAYOUT.total, LAYOUT, allocation, limits
    )
    assert sum(zeros(new).values()) == count
    assert zeros(new)["b"] == fixed
    for name in ("a", "c"):
        assert LAYOUT.sizes[name] - zeros(new)[name] >= floor * LAYOUT.sizes[name] - 1e-9


@settings(deadline=None)
@given(seed=SEEDS)
def test_a_floor_that_does_not_bind_changes_nothing_and_one_that_does_moves_zeros_elsewhere(seed):
    scores, _ = scores_and_mask(seed)
    units = single_weights(scores, LAYOUT)
    free = allocate(units, DENSE, 0.5, LAYOUT)
    highest = max(zeros(free)[name] / size for name, size in LAYOUT.sizes.items())
    same = allocate(units, DENSE, 0.5, LAYOUT, "global", Limits(floor=(1 - highest) * 0.99))
    assert torch.equal(free, same)
    bound = allocate(units, DENSE, 0.5, LAYOUT, "global", Limits(floor=0.45))
    assert all(zeros(bound)[name] <= 0.55 * size for name, size in LAYOUT.sizes.items())
    assert sum(zeros(bound).values()) == sum(zeros(free).values())


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@settings(deadline=None)
@given(seed=SEEDS)
def test_a_run_of_steps_obeys_overrides_at_its_end(allocation, seed):
    scores, _ = scores_and_mask(seed)
    limits, keep = Limits({"a": 0.9, "c": 0.1}, costs=COSTS), DENSE
    for progress in (0.25, 0.5, 1.0):
        keep = allocate(
            single_weights(scores, LAYOUT),
            keep,
            progress * 0.5,
            LAYOUT,
            allocation,
            limits.part_way(progress),
        )
    assert zeros(keep) == {"a": 19, "b": 27 - 19 - 2, "c": 2}


def test_of_equal_losses_the_first_goes():
    units = single_weights(torch.zeros(LAYOUT.total), LAYOUT)
    new = allocate(units, DENSE, 0.5, LAYOUT)
    assert torch.nonzero(~new)[:, 0].tolist() == list(range(27))
    new = allocate(units, DENSE, 0.5, LAYOUT, "uniform")
    for part in LAYOUT.split(new).values():
        gone = torch.nonzero(~part.reshape(-1))[:, 0].tolist()
        assert gone == list(range(len(gone)))


def test_the_uniform_counts_are_those_of_the_largest_remainders():
    units = single_weights(torch.zeros(LAYOUT.total), LAYOUT)
    new = allocate(units, DENSE, 0.4, LAYOUT, "uniform")
    kept = shares(LAYOUT.total - 22, LAYOUT.sizes)
    assert zeros(new) == {name: size - kept[name] for name, size in LAYOUT.sizes.items()}


def test_regrowth_is_a_present_mask_of_ones():
    scores, keep = scores_and_mask(0)
    again = allocate(single_weights(scores, LAYOUT), torch.ones_like(keep), 0.3, LAYOUT)
    assert bool((again & ~keep).any())


def test_arguments_are_left_as_they_are():
    scores, keep = scores_and_mask(0)
    before = scores.clone(), keep.clone()
    limits = Limits({"a": 0.5}, floor=0.3, costs=COSTS)
    allocate(single_weights(scores, LAYOUT), keep, 0.5, LAYOUT, "flops", limits)
    assert torch.equal(scores, before[0])
    assert torch.equal(keep, before[1])


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_going_back_to_a_lower_sparsity_is_refused(allocation):
    scores, keep = scores_and_mask(0)
    with pytest.raises(ValueError, match="pruned already"):
        allocate(
            single_weights(scores, LAYOUT), keep, 0.01, LAYOUT, allocation, Limits(costs=COSTS)
        )


def test_losses_that_are_not_numbers_are_refused():
    scores, keep = scores_and_mask(0)
    scores[3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        allocate(single_weights(scores, LAYOUT), keep, 0.9, LAYOUT)


def test_flops_without_costs_is_refused():
    scores, keep = scores_and_mask(0)
    with pytest.raises(ValueError, match="MACs > 0, got None for a"):
        allocate(single_weights(scores, LAYOUT), keep, 0.9, LAYOUT, "flops")
