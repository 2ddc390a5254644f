"""What each unit of a graph takes with ONNX Runtime's dense kernels and on the sparse ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ...support.nests import Nest, samples
from ..measuring.inference import named_inputs
from ..measuring.session import SessionSettings
from .graph_index import GraphIndex
from .layouts import UnitTimes
from .node_times import NodeTime, time_nodes
from .operators import KERNEL_DOMAIN, VERSION, kernel_node
from .rewrite import rewrite
from .units import Unit

Array = np.ndarray[Any, Any]

ROUNDS = 15  # runs of each model that count: a heuristic
_NCHWC = "_nchwc"  # what ONNX Runtime adds to the output's name of a node that it lays out anew


class Measured(NamedTuple):
    """Times of units, and of bringing each value into the kernels' layout and back, in ms."""

    units: dict[str, UnitTimes]
    changes: dict[str, float]


def measure_units(
    model: ModelProto,
    units: Sequence[Unit],
    batch: Nest,
    settings: SessionSettings,
    *,
    on_round: Callable[[], None] = lambda: None,
) -> Measured:
    """Time each unit both ways on this machine, the two graphs in alternation.

    Args:
        model: the plain model, with the zeros of its weights.
        units: its units; all of them are timed on the kernels.
        batch: prepared inputs, an array (n, *shape) or a nest of arrays.
        settings: how the sessions are opened; the times hold for these threads.
        on_round: called after each of ``ROUNDS`` + 3 rounds.

    Raises:
        InputError: when a model cannot be run.
    """
    sparse = rewrite(model, units, {unit.name for unit in units})
    values = value_shapes(model, units, samples(batch))
    changes = _change_model(values)
    feed = named_inputs(model, batch)
    shapes = {f"{family} {shape}": shape for family, shape in values.values()}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    found = time_nodes(
        {"dense": model, "sparse": sparse, "changes": changes},
        {"dense": feed, "sparse": feed, "changes": zeros},
        settings,
        rounds=ROUNDS,
        on_round=on_round,
    )
    dense = dense_times(model, units, found["dense"])
    kernels = {each.name: each.milliseconds for each in found["sparse"]}
    both = {unit.name: UnitTimes(dense[unit.name], kernels[unit.name]) for unit in units}
    there_and_back: dict[str, float] = {}
    for each in found["changes"]:
        name = each.name.partition("|")[0]
        there_and_back[name] = there_and_back.get(name, 0.0) + each.milliseconds
    return Measured(
        both,
        {value: there_and_back[f"{family} {shape}"] for value, (family, shape) in values.items()},
    )


def dense_times(
    model: ModelProto, units: Sequence[Unit], nodes: Iterable[NodeTime]
) -> dict[str, float]:
    """Return the time of each unit in the dense model.

    ONNX Runtime calls a node that it made from others after one of their outputs, or by a name
    of its own: such a node belongs to the unit that ran before it. Its changes of layout are
    left out, as they belong to no unit.
    """
    owner: dict[str, str | None] = {}
    for node in model.graph.node:
        owner.update(dict.fromkeys([node.name, *node.output]))
    for unit in units:
        for place in unit.places:
            node = model.graph.node[place]
            owner.update(dict.fromkeys([node.name, *node.output], unit.name))
    times = dict.fromkeys((unit.name for unit in units), 0.0)
    latest: str | None = None
    for each in nodes:
        if each.operator in ("ReorderInput", "ReorderOutput"):
            continue
        latest = owner.get(each.name.removesuffix(_NCHWC), latest)
        if latest is not None:
            times[latest] += each.milliseconds
    return times


_Value = tuple[str, tuple[int, ...]]


def value_shapes(model: ModelProto, units: Sequence[Unit], batch: int) -> dict[str, _Value]:
    """Return family and shape of each value that may change its layout; a free size is a batch."""
    index = GraphIndex(model)
    found: dict[str, _Value] = {}
    for unit in units:
        for value in (*unit.values, *([] if unit.kind == "average" else [unit.output])):
            shape = index.shape(value)
            if shape is not None:
                sizes = tuple(dim if isinstance(dim, int) else batch for dim in shape)
                found[value] = unit.family, sizes
    return found


def _change_model(values: dict[str, _Value]) -> ModelProto:
    """Return a model that brings a value of each family and shape to the kernels and back."""
    nodes, inputs, outputs = [], [], []
    for family, shape in dict.fromkeys(values.values()):
        name, tokens = f"{family} {shape}", family == "tokens"
        inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        outputs.append(helper.make_tensor_value_info(f"{name}|out", TensorProto.FLOAT, shape))
        nodes.append(kernel_node("ToTiles", f"{name}|to", [name], f"{name}|t",
                                 channels_last=int(tokens)))  # fmt: skip
        back = [f"{name}|t"]
        if tokens:
            nodes.append(helper.make_node("Shape", [name], [f"{name}|shape"], name=f"{name}|shape"))
            back.append(f"{name}|shape")
        spatial = [] if tokens else list(shape[2:])
        nodes.append(kernel_node("FromTiles", f"{name}|from", back, f"{name}|out",
                                 channels_last=int(tokens), spatial=spatial))  # fmt: skip
    graph = helper.make_graph(nodes, "changes", inputs, outputs)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(KERNEL_DOMAIN, VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
