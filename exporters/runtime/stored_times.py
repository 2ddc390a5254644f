"""Times of units from a stored table, where measuring on this machine is switched off.

The table was measured once on one core with AVX2. What it is for is the choice between two ways to
run a layer, so that the ratios count: both sides scale alike with the speed of a core.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from onnx import ModelProto

from .graph_index import GraphIndex
from .layouts import UnitTimes
from .operators import output_size
from .rewrite import dense_weight
from .unit_times import Measured, value_shapes
from .units import Unit

_DENSE = 40e6  # multiplications of ONNX Runtime's kernels in a millisecond
_SPARSE = 24e6  # of the sparse kernels
_PACKED = 0.7e6  # input values laid out for a window that is not a single point, in a millisecond
_MOVED = 0.8e6  # values brought into the kernels' layout and back, in a millisecond
_STREAMED = 1.5e6  # values of a pooling, a depthwise convolution or an average, in a millisecond
_DISPATCH = 0.004  # milliseconds that any node takes


def stored_times(model: ModelProto, units: Sequence[Unit], batch: int) -> Measured:
    """Return what each unit takes both ways by the stored table, for ``batch`` samples.

    Args:
        model: the plain model, with the zeros of its weights.
        units: its units.
        batch: samples of a run.
    """
    index = GraphIndex(model)
    shapes = value_shapes(model, units, batch)
    times = {}
    for unit in units:
        values = prod(shapes[unit.source][1]) if unit.source in shapes else 0
        if unit.kind in ("conv", "linear"):
            times[unit.name] = _weighted(model, unit, values, index)
        else:
            both = _DISPATCH + values / _STREAMED
            times[unit.name] = UnitTimes(both, both)
    changes = {value: 2 * _DISPATCH + prod(shape) / _MOVED for value, (_, shape) in shapes.items()}
    return Measured(times, changes)


def _weighted(model: ModelProto, unit: Unit, values: int, index: GraphIndex) -> UnitTimes:
    weight = dense_weight(model, unit)
    if unit.family == "tokens":
        samples = values // weight.shape[1]
    else:
        channels = int((index.shape(unit.source) or (1, 1))[1])
        samples = values // (channels * prod(unit.window.size)) * prod(output_size(unit.window))
    kept = int(np.count_nonzero(weight))
    packed = weight[0].size * unit.group * samples if prod(unit.window.kernel) > 1 else 0
    return UnitTimes(
        dense=_DISPATCH + weight.size * samples / _DENSE,
        sparse=_DISPATCH + kept * samples / _SPARSE + packed / _PACKED / 50,
    )
