"""What each weight of a dense model takes in ONNX Runtime on this machine."""

from __future__ import annotations

from collections.abc import Callable

from onnx import ModelProto

from ...support.nests import Nest
from ..measuring.inference import named_inputs
from ..measuring.session import SessionSettings
from .node_times import WARM_UP, time_nodes
from .unit_times import ROUNDS, dense_times
from .units import find_units

TIMED = ROUNDS + WARM_UP
"""Runs of the model."""


def weight_times(
    model: ModelProto, batch: Nest, settings: SessionSettings, *, on_round: Callable[[], None]
) -> dict[str, float]:
    """Return the milliseconds of the layer of each weight, with the activation behind it.

    Args:
        model: as exported, with its weights in itself.
        batch: prepared inputs, an array (n, *shape) or a nest of arrays.
        settings: how the session is opened.
        on_round: called after each of ``TIMED`` runs.

    Returns:
        By name of the weight; those of layers that are not timed one by one are left out.

    Raises:
        InputError: when the model cannot be run.
    """
    feeds = {"dense": named_inputs(model, batch)}
    nodes = time_nodes({"dense": model}, feeds, settings, rounds=ROUNDS, on_round=on_round)
    units = find_units(model)
    times = dense_times(model, units, nodes["dense"])
    found: dict[str, float] = {}
    for unit in units:
        if unit.weight:
            found[unit.weight] = found.get(unit.weight, 0.0) + times[unit.name]
    return found
