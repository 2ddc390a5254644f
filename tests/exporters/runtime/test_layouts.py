from __future__ import annotations

import random
from itertools import compress, product

import pytest

from wfpipe.exporters.runtime.layouts import UnitTimes, choose_units
from wfpipe.exporters.runtime.units import Unit


def cost(units, times, changes, outside, chosen):
    """What a choice costs, counted one by one."""
    makers = {unit.output: unit for unit in units}
    total = sum(
        times[unit.name].sparse if unit.name in chosen else times[unit.name].dense for unit in units
    )
    there, back = set(), set()
    for unit in units:
        for value in unit.values:
            maker = makers.get(value)
            made_there = maker is not None and maker.name in chosen
            if unit.name in chosen and not made_there:
                there.add(value)
            if unit.name not in chosen and made_there:
                back.add(value)
    back |= {value for value in outside if value in makers and makers[value].name in chosen}
    return total + sum(changes[value] for value in (*there, *back))


def chain(generator, count=7):
    """A random graph of layers with branches and sums."""
    values, units = ["x"], []
    for number in range(count):
        source = generator.choice(values)
        residual = generator.choice(values) if generator.random() < 0.4 else ""
        residual = "" if residual == source else residual
        units.append(Unit(f"u{number}", "conv", (number,), source, f"v{number}", residual=residual))
        values.append(f"v{number}")
    return units, values


@pytest.mark.parametrize("seed", range(40))
def test_the_choice_costs_as_little_as_the_best_of_all_choices(seed):
    generator = random.Random(seed)
    units, values = chain(generator)
    times = {unit.name: UnitTimes(generator.random(), generator.random()) for unit in units}
    changes = {value: 0.4 * generator.random() for value in values}
    taken = {value for unit in units for value in unit.values}
    outside = {u.output for u in units if u.output not in taken or generator.random() < 0.2}
    best = min(
        cost(
            units,
            times,
            changes,
            outside,
            {u.name for u in compress(units, bits)},
        )
        for bits in product([False, True], repeat=len(units))
    )
    chosen = choose_units(units, times, changes, outside)
    assert cost(units, times, changes, outside, chosen) == pytest.approx(best, abs=1e-6)


def test_a_layer_without_times_stays_with_the_runtime():
    units = [Unit("a", "conv", (0,), "x", "v"), Unit("b", "conv", (1,), "v", "y")]
    assert choose_units(units, {"b": UnitTimes(9.0, 1.0)}, {}, {"y"}) == {"b"}


def test_a_change_of_layout_that_costs_more_than_it_gains_is_left():
    units = [Unit("a", "conv", (0,), "x", "y")]
    times = {"a": UnitTimes(3.0, 1.0)}
    assert choose_units(units, times, {"x": 0.5, "y": 0.5}, {"y"}) == {"a"}
    assert choose_units(units, times, {"x": 1.5, "y": 1.5}, {"y"}) == set()


def test_layers_of_tokens_and_of_images_do_not_share_a_layout():
    units = [Unit("a", "conv", (0,), "x", "v"), Unit("b", "linear", (1,), "v", "y")]
    times = {"a": UnitTimes(2.0, 1.0), "b": UnitTimes(2.0, 1.0)}
    changes = {"x": 0.0, "v": 1.2, "y": 0.0}
    assert choose_units(units, times, changes, {"y"}) in ({"a"}, {"b"}, set())
