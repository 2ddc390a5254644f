"""What each layer of a model takes over sparsities, and the whole model with its sparse kernels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from ...support.nests import Nest
from ...support.nests import samples as count
from ..measuring.session import SessionSettings
from .fastest_mix import fastest_mix
from .layouts import UnitTimes, choose_units
from .node_times import WARM_UP
from .operators import KERNEL_DOMAIN
from .rewrite import rewrite
from .stored_times import stored_times
from .unit_times import ROUNDS, Measured, measure_units
from .units import Unit, find_units, taken_outside

Array = np.ndarray[Any, Any]

GRID = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Sparsities at which layers are timed: closer where the share of what is left falls faster. A
heuristic; between two of them a time is a straight line, as it is one in the multiplications."""


@dataclass(frozen=True)
class WholeTimes:
    """What a whole model takes dense and in its fastest mix of kernels, in milliseconds."""

    dense: float
    sparse: float

    @property
    def speedup(self) -> float:
        """Dense / sparse."""
        return self.dense / self.sparse


class LayerTimes:
    """Times of the layers of a dense model over sparsities, on this machine or by a stored table.

    Weights are pruned by magnitude, layer by layer: the values do not matter for the time, how
    unevenly rows are filled does.

    Args:
        model: the dense model, as exported.
        prunable: names of its weights that may be pruned; the others stay as they are.
        samples: prepared inputs, arrays (n, ...), the batch that the times hold for.
        settings: how the sessions are opened; the times hold for these threads.
        measure: whether to time on this machine; else by the stored table.
        on_round: called after each of ``rounds`` rounds.

    Raises:
        InputError: when a model cannot be run.
    """

    rounds = len(GRID) * (ROUNDS + WARM_UP)

    def __init__(
        self,
        model: ModelProto,
        prunable: Collection[str],
        samples: Nest,
        settings: SessionSettings,
        *,
        measure: bool = True,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        self._model, self._samples, self._settings = model, samples, settings
        self._units, self._measure = find_units(model), measure
        names = {unit.weight for unit in self._units if unit.kind in ("conv", "linear")}
        self.layers: frozenset[str] = frozenset(names.intersection(prunable))
        found = [self._time(sparsity, on_round) for sparsity in GRID]
        self._dense = _medians([{u: t.dense for u, t in each.units.items()} for each in found])
        self._sparse = {
            unit.name: [each.units[unit.name].sparse for each in found] for unit in self._units
        }
        self._changes = _medians([each.changes for each in found])

    def layer(self, name: str, sparsities: Iterable[float]) -> list[float]:
        """Return the milliseconds of a layer at sparsities: those of the faster of its two ways.

        A layer that the kernels do not run takes the same at each. More zeros never take longer:
        what measuring scatters is levelled.
        """
        if name not in self.layers:
            return [0.0 for _ in sparsities]
        dense, best = self._dense[name], list[float]()
        for time in self._sparse[name]:
            best.append(min(time, best[-1] if best else dense))
        return [float(np.interp(s, (0.0, *GRID), (dense, *best))) for s in sparsities]

    def whole(self, sparsities: Mapping[str, float]) -> WholeTimes:
        """Return what the model takes with each layer at its sparsity, dense and with kernels.

        Measured in alternation on the file that the form would be; by the stored table, it is the
        sum of its parts.

        Args:
            sparsities: by name of a layer; others stay dense.
        """
        model = with_zeros(self._model, {k: v for k, v in sparsities.items() if k in self.layers})
        times = {
            unit.name: UnitTimes(self._dense[unit.name], self._on_kernels(unit, sparsities))
            for unit in self._units
        }
        best = choose_units(self._units, times, self._changes, taken_outside(model, self._units))
        if not self._measure:
            return self._summed(model, times, best)
        mix = fastest_mix(model, self._units, best, self._samples, self._settings)
        return WholeTimes(mix.plain, mix.fastest)

    def _time(self, sparsity: float, on_round: Callable[[], None]) -> Measured:
        model = with_zeros(self._model, dict.fromkeys(self.layers, sparsity))
        if not self._measure:
            return stored_times(model, self._units, count(self._samples))
        return measure_units(model, self._units, self._samples, self._settings, on_round=on_round)

    def _on_kernels(self, unit: Unit, sparsities: Mapping[str, float]) -> float:
        times, sparsity = self._sparse[unit.name], sparsities.get(unit.name, 0.0)
        if unit.name not in self.layers:
            return median(times)
        if sparsity < GRID[0]:  # along the line through the two sparsities above it
            slope = (times[1] - times[0]) / (GRID[1] - GRID[0])
            return max(times[0], times[0] + slope * (sparsity - GRID[0]))
        return float(np.interp(sparsity, GRID, times))

    def _summed(
        self, model: ModelProto, times: Mapping[str, UnitTimes], chosen: Collection[str]
    ) -> WholeTimes:
        dense = sum(time.dense for time in times.values())
        sparse = sum(time.sparse if unit in chosen else time.dense for unit, time in times.items())
        for node in rewrite(model, self._units, chosen).graph.node:
            if node.domain == KERNEL_DOMAIN and node.op_type in ("ToTiles", "FromTiles"):
                value = node.input[0] if node.op_type == "ToTiles" else node.output[0]
                sparse += self._changes.get(value, 0.0) / 2
        return WholeTimes(dense, min(dense, sparse))


def with_zeros(model: ModelProto, sparsities: Mapping[str, float]) -> ModelProto:
    """Return a copy of a model, the smallest weights of some tensors zero.

    Args:
        model: keeps its weights in itself.
        sparsities: by name of a tensor, in [0, 1].
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        count = round(sparsities.get(tensor.name, 0.0) * int(np.prod(tensor.dims)))
        if count:
            values = numpy_helper.to_array(tensor).copy()
            flat = values.reshape(-1)
            flat[np.argpartition(np.abs(flat), count - 1)[:count]] = 0.0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return copy


def _medians(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in found) for name in found[0]}
