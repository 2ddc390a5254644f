from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.memory.plan import BudgetError, Room, packed, plan_memory
from wfpipe.pipeline.pruning.memory.workspace import Demand
from wfpipe.pipeline.pruning.tensors.layout import Layout

MIB, GIB = 1 << 20, 1 << 30
EVERYTHING = 1 << 60


def layout(*sizes: int) -> Layout:
    return Layout({f"l{i}": torch.empty(size, device="meta") for i, size in enumerate(sizes)})


def demand(*sizes: int, rows: int = 64, **options) -> Demand:
    return Demand(rows, layout(*(sizes or (400_000, 100_000, 500_000))), **options)


def room(budget: int, host: int = EVERYTHING, disk: int = EVERYTHING) -> Room:
    return Room.within(budget, device=EVERYTHING, host=host, disk=disk)


def least(problem: Demand, disk: int = 0, **options) -> int:
    with pytest.raises(BudgetError) as caught:
        plan_memory(problem, room(1, disk=disk), **options)
    return caught.value.smallest


def test_with_room_enough_the_bank_is_float32_on_the_device():
    for device in ("cpu", "cuda"):
        plan = plan_memory(demand(device=device), room(8 * GIB))
        assert (plan.place, plan.dtype) == ("device", torch.float32)
        assert plan.groups == (("l0", "l1", "l2"),)
        assert plan.bank_bytes == 4 * 64 * 1_000_000
        assert plan.total == plan.bank_bytes + plan.workspace_bytes <= 8 * GIB


def test_a_falling_budget_goes_through_the_places_in_order():
    problem = demand(rows=256)
    seen: list[tuple[str, torch.dtype]] = []
    for budget in range(2 * GIB, MIB, -MIB):
        try:
            plan = plan_memory(problem, room(budget))
        except BudgetError:
            break
        assert plan.total <= budget
        if seen[-1:] != [(plan.place, plan.dtype)]:
            seen.append((plan.place, plan.dtype))
    order = [("device", torch.float32), ("device", torch.bfloat16), ("disk", torch.float32)]
    assert seen == order


def test_without_a_disk_gradients_are_computed_in_passes():
    plan = plan_memory(demand(rows=256), room(400 * MIB, disk=0))
    assert plan.place == "passes"
    assert plan.groups == (("l0", "l1"), ("l2",)) or len(plan.groups) == 3
    assert plan.total <= 400 * MIB


def test_a_gpu_with_little_memory_leaves_the_bank_in_main_memory():
    problem = demand(rows=512, device="cuda")
    need = least(problem, disk=EVERYTHING, place="disk")
    plan = plan_memory(problem, Room(device=need, host=4 * GIB, disk=0))
    assert (plan.place, plan.dtype) == ("host", torch.float32)
    need = least(problem, place="host", dtype=torch.bfloat16)
    plan = plan_memory(problem, Room(device=need, host=need, disk=0))
    assert (plan.place, plan.dtype) == ("host", torch.bfloat16)
    need = least(problem, disk=EVERYTHING, place="disk")
    plan = plan_memory(problem, Room(device=need, host=GIB, disk=4 * GIB))
    assert (plan.place, plan.dtype) == ("disk", torch.float32)


def test_a_disk_with_room_for_half_the_bank_gets_it_rounded():
    problem = demand(rows=256)
    need = least(problem, disk=EVERYTHING, place="disk")
    plan = plan_memory(problem, room(need + MIB, disk=2 * 256 * 1_000_000))
    assert (plan.place, plan.dtype) == ("disk", torch.bfloat16)


problems = st.builds(
    demand,
    st.integers(1, 3_000_000),
    st.integers(1, 3_000_000),
    st.integers(1, 3_000_000),
    rows=st.integers(1, 1500),
    criterion=st.sampled_from(["woodfisher", "woodtaylor", "mfac", "diag-fisher"]),
    fisher=st.sampled_from([Fisher(), Fisher(block=100), Fisher(block="network", cache_bytes=0)]),
    grouped=st.booleans(),
    swaps=st.booleans(),
    cut=st.booleans(),
    at_once=st.sampled_from([1, 7, 32]),
    device=st.sampled_from(["cpu", "cuda"]),
)
places = st.sampled_from(["auto", "device", "host", "disk", "passes"])
types = st.sampled_from([None, torch.float32, torch.bfloat16])


@settings(max_examples=100, deadline=None)
@given(problem=problems, place=places, dtype=types, disk=st.sampled_from([0, GIB, EVERYTHING]))
def test_the_smallest_budget_works_and_one_byte_less_does_not(problem, place, dtype, disk):
    assume(place != "disk" or disk == EVERYTHING)
    smallest = least(problem, disk, place=place, dtype=dtype)
    plan = plan_memory(problem, room(smallest, disk=disk), place=place, dtype=dtype)
    assert plan.total <= smallest or plan.place == "host"
    with pytest.raises(BudgetError) as caught:
        plan_memory(problem, room(smallest - 1, disk=disk), place=place, dtype=dtype)
    assert caught.value.smallest == smallest


@settings(max_examples=100, deadline=None)
@given(problem=problems, share=st.floats(0, 1), place=places, dtype=types)
def test_plans_keep_within_the_budget_and_do_as_they_are_told(problem, share, place, dtype):
    low = least(problem, EVERYTHING, place=place, dtype=dtype)
    high = 2 * (problem.rows * problem.total * 4 + low)
    budget = low + int(share * (high - low))
    plan = plan_memory(problem, room(budget), place=place, dtype=dtype)
    assert plan.dtype in (torch.float32, torch.bfloat16)
    assert dtype in (None, plan.dtype)
    if place != "auto" and not (place == "host" and problem.device == "cpu"):
        assert plan.place == place
    on_device = plan.workspace_bytes + (
        plan.bank_bytes if plan.place in ("device", "passes") else 0
    )
    assert on_device <= budget
    assert [name for group in plan.groups for name in group] == list(problem.layout.sizes)
    sizes = [sum(problem.layout.sizes[name] for name in group) for group in plan.groups]
    assert plan.bank_bytes == plan.rows * max(sizes) * plan.dtype.itemsize
    assert 1 <= plan.at_once <= problem.at_once


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=7), room=st.integers(0, 60))
def test_groups_are_as_few_as_layers_in_order_allow(sizes, room):
    most = max(sizes) + room
    groups = packed({f"l{i}": size for i, size in enumerate(sizes)}, most)
    assert [name for group in groups for name in group] == [f"l{i}" for i in range(len(sizes))]
    assert all(sum(sizes[int(name[1:])] for name in group) <= most for group in groups)
    fewest = min(
        len(cuts) + 1
        for count in range(len(sizes))
        for cuts in combinations(range(1, len(sizes)), count)
        if all(sum(sizes[a:b]) <= most for a, b in pairwise([0, *cuts, len(sizes)]))
    )
    assert len(groups) == fewest


def test_more_samples_at_once_where_there_is_memory():
    problem = demand(at_once=32)
    assert plan_memory(problem, room(4 * GIB)).at_once == 32
    smallest = plan_memory(replace(problem, at_once=1), room(4 * GIB)).total
    tight = plan_memory(problem, room(smallest))
    assert tight.place == "device"
    assert tight.at_once < 32
    assert tight.total <= smallest


def test_the_sentence_says_what_where_and_how_much():
    plan = plan_memory(demand(267_264, rows=256), room(4 * GIB))
    workspace = math.ceil(plan.workspace_bytes * 10 / MIB) / 10
    assert plan.describe() == (
        "gradient bank: 256 gradients of 267,264 weights, 261.0 MiB float32 in main memory, "
        f"workspace {workspace} MiB, budget 4.0 GiB"
    )
    gpu = plan_memory(demand(device="cuda"), room(8 * GIB))
    assert "float32 in GPU memory, workspace" in gpu.describe()
    on_disk = plan_memory(demand(), room(GIB), place="disk")
    assert "244.2 MiB float32 on the disk" in on_disk.describe()
    passes = plan_memory(demand(rows=256), room(650 * MIB), place="passes", dtype=torch.float32)
    assert "488.3 MiB float32 in main memory at a time, in 2 passes" in passes.describe()


def test_a_refusal_names_the_budget_and_one_that_would_do():
    problem = demand(rows=256)
    with pytest.raises(BudgetError, match=r"256 gradients of 1,000,000 weights") as caught:
        plan_memory(problem, room(10 * MIB, disk=0))
    assert "within 10.0 MiB" in str(caught.value)
    assert "bfloat16, in passes over groups of layers" in str(caught.value)
    written = re.search(r"would do is ([\d.]+) MiB", str(caught.value))
    assert written is not None
    assert plan_memory(problem, room(int(float(written[1]) * MIB), disk=0)).place == "passes"


def test_a_disk_without_room_is_named():
    with pytest.raises(ValueError, match=r"take 244\.2 MiB on the disk, which has 1\.0 MiB left"):
        plan_memory(demand(), room(GIB, disk=MIB), place="disk", dtype=torch.float32)


def test_room_is_the_budget_or_what_is_free():
    assert Room.within(10, device=20, host=5, disk=7) == Room(10, 5, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rows": 0}, "a bank needs rows and columns, got 0"), ({"at_once": 0}, "at_once must be")],
)
def test_sizes_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        demand(**options)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="float32 or bfloat16, got torch"):
        plan_memory(demand(), room(GIB), dtype=torch.float16)
