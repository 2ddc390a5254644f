"""Which units run on the kernels, so that the whole graph takes the least time.

A unit costs its dense time where it stays with ONNX Runtime and its sparse time on the kernels; a
value that one side makes and the other takes costs a change of layout, once. That is a choice of
two sides for each unit with a price on each disagreement: a minimum cut, found exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from .units import Unit

_WHOLE = 10**8  # what all prices together become: a cut is over whole numbers of 32 bits
_NEVER = 10**9
_KERNELS, _RUNTIME = "the kernels", "the runtime"  # the two ends of the cut


@dataclass(frozen=True)
class UnitTimes:
    """What a unit takes with ONNX Runtime and on the kernels, in milliseconds."""

    dense: float
    sparse: float


def choose_units(
    units: Sequence[Unit],
    times: Mapping[str, UnitTimes],
    changes: Mapping[str, float],
    outside: Collection[str],
) -> set[str]:
    """Return the names of the units that run on the kernels in the fastest graph.

    Args:
        units: the units of a graph.
        times: by name of a unit; one that is missing stays with ONNX Runtime.
        changes: milliseconds to bring a value into the kernels' layout or back, by its name.
        outside: values that are taken by something else than a unit.
    """
    edges = _Edges()
    movable = [unit for unit in units if unit.name in times]
    makers = {unit.output: unit for unit in movable if unit.kind != "average"}
    for unit in movable:
        edges.price(_KERNELS, unit.name, times[unit.name].dense)
        edges.price(unit.name, _RUNTIME, times[unit.name].sparse)
    takers = {
        (value, unit.family if unit.name in times else None, unit.name)
        for unit in units
        for value in unit.values
    }
    for value, family, name in sorted(takers, key=str):
        maker, change = makers.get(value), changes.get(value, 0.0)
        there = f"{family} {value}"
        if family is None:
            _return(edges, value, maker, change, _RUNTIME)
            continue
        edges.price(name, there, None)
        if maker is not None and maker.family == family:
            edges.price(there, maker.name, change)
            _return(edges, value, maker, change, name)
        else:  # what another family made comes back first
            edges.price(there, _RUNTIME, change)
            _return(edges, value, maker, change, _RUNTIME)
    for value in outside:
        _return(edges, value, makers.get(value), changes.get(value, 0.0), _RUNTIME)
    on_kernels = edges.kernel_side()
    return {unit.name for unit in movable if unit.name in on_kernels}


def _return(edges: _Edges, value: str, maker: Unit | None, change: float, taker: str) -> None:
    """Price a value's way back from the kernels, where its taker does not run on them."""
    if maker is not None:
        edges.price(maker.name, f"back {value}", change)
        edges.price(f"back {value}", taker, None)


class _Edges:
    """A graph between two ends; an edge has the price of a cut between its nodes."""

    def __init__(self) -> None:
        self._numbers = {_KERNELS: 0, _RUNTIME: 1}
        self._prices: dict[tuple[int, int], float | None] = {}

    def price(self, start: str, end: str, milliseconds: float | None) -> None:
        """Set the price of a cut between two nodes; None: they cannot be cut apart."""
        self._prices[self._number(start), self._number(end)] = milliseconds

    def kernel_side(self) -> set[str]:
        """Return the nodes on the kernels' side of the least cut."""
        count = len(self._numbers)
        starts, ends = (np.array(part, int) for part in zip(*self._prices, strict=True))
        scale = _WHOLE / (sum(price or 0.0 for price in self._prices.values()) or 1.0)
        prices = np.array(
            [_NEVER if price is None else round(price * scale) for price in self._prices.values()],
            dtype=np.int32,
        )
        graph = csr_array((prices, (starts, ends)), (count, count))
        left = csr_array(graph - maximum_flow(graph, 0, 1).flow)
        left.data[left.data < 0] = 0
        left.eliminate_zeros()
        reached = set(breadth_first_order(left, 0, return_predecessors=False).tolist())
        return {name for name, number in self._numbers.items() if number in reached}

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))
