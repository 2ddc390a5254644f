"""From a plain graph to one whose chosen units run on the kernels, the rest as it was.

Between units that follow one another a value stays in the kernels' layout; ToTiles and FromTiles
stand where it changes hands, once for each value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from .encoding import encode
from .operators import KERNEL_DOMAIN, VERSION, kernel_node, output_size
from .units import Family, Unit

Array = np.ndarray[Any, Any]


def rewrite(
    model: ModelProto, units: Sequence[Unit], chosen: Collection[str], *, half: bool = False
) -> ModelProto:
    """Return a copy of ``model`` in which the chosen units are nodes of the kernels.

    Dense weights of chosen convolutions and linear layers are left out: their values and gaps
    stand in the file instead. The model's opset gains the kernels' domain where a node is of it.

    Args:
        model: the plain model.
        units: from :func:`.units.find_units` of it.
        chosen: names of units.
        half: whether sparse values are stored as float16.

    Raises:
        InputError: when a weight does not fit the encoding.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    emitter = _Emitter(model, half=half)
    last = {unit.places[-1]: unit for unit in units if unit.name in chosen}
    inside = {place for unit in last.values() for place in unit.places}
    for place, node in enumerate(graph.node):
        if place in last:
            emitter.unit(last[place])
        elif place not in inside:
            emitter.plain(node)
    emitter.need_plain(value.name for value in graph.output)
    del graph.node[:]
    graph.node.extend(emitter.nodes)
    _replace_tensors(graph, emitter)
    if emitter.used:
        copy.opset_import.append(helper.make_opsetid(KERNEL_DOMAIN, VERSION))
    return copy


def dense_weight(model: ModelProto, unit: Unit) -> Array:
    """Return the weight of a unit, outputs first."""
    tensor = next(each for each in model.graph.initializer if each.name == unit.weight)
    weight = np.asarray(numpy_helper.to_array(tensor))
    return weight.T if unit.transposed else weight


class _Emitter:
    """The nodes of the new graph in order, and in which layouts each value is there."""

    def __init__(self, model: ModelProto, *, half: bool) -> None:
        self._model, self._half = model, half
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, onnx.TensorProto] = {}
        self.used = False
        self._tiled: dict[tuple[str, Family], str] = {}
        self._only_tiled: dict[str, tuple[Family, tuple[int, ...]]] = {}
        self._leading: dict[str, str] = {}
        """Of a value of tokens, the plain value that has its leading dimensions."""

    def plain(self, node: NodeProto) -> None:
        """Add a node as it was."""
        self.need_plain(_inputs(node))
        self.nodes.append(node)

    def need_plain(self, values: Any) -> None:
        """Bring values back that are there in the kernels' layout alone."""
        for value in values:
            if value not in self._only_tiled:
                continue
            family, spatial = self._only_tiled.pop(value)
            inputs = [self._tiled[value, family]]
            if family == "tokens":
                shape = f"{value}.shape"
                source = self._leading[value]
                self.nodes.append(helper.make_node("Shape", [source], [shape], name=shape))
                inputs.append(shape)
            self._add(
                "FromTiles", f"{value}.from_tiles", inputs, value,
                channels_last=int(family == "tokens"), spatial=list(spatial),
            )  # fmt: skip

    def unit(self, unit: Unit) -> None:
        """Add a unit as one node, its inputs brought into the kernels' layout first."""
        tiled = [self._to_tiles(value, unit.family) for value in unit.values]
        if unit.kind == "average":
            self._average(unit, tiled[0])
            return
        output = f"{unit.output}.tiles"
        self._tiled[unit.output, unit.family] = output
        spatial = () if unit.family == "tokens" else output_size(unit.window)
        self._only_tiled[unit.output] = unit.family, spatial
        if unit.family == "tokens":
            self._leading[unit.output] = self._leading.get(unit.source, unit.source)
        source, *residual = tiled
        if unit.kind == "pool":
            attributes = unit.window.attributes()
            del attributes["dilations"]
            kind = "max" if unit.maximum else "average"
            self._add(
                "TilePool", unit.name, [source], output,
                kind=kind, count_include_pad=int(unit.count_padding), **attributes,
            )  # fmt: skip
            return
        after = [self._bias(unit), *residual]
        attributes = unit.window.attributes() | unit.activation.attributes()
        if unit.kind == "depthwise":
            self._keep(unit.weight)
            self._add("TileDepthwise", unit.name, [source, unit.weight, *after], output,
                      **attributes)  # fmt: skip
            return
        weight = dense_weight(self._model, unit)
        names = [f"{unit.weight}.{part}" for part in ("values", "gaps", "rows")]
        for name, array in zip(names, encode(weight, half=self._half), strict=True):
            self.tensors[name] = numpy_helper.from_array(array, name)
        self._add(
            "SparseConv", unit.name, [source, *names, *after], output,
            in_channels=weight.shape[1] * unit.group, group=unit.group, **attributes,
        )  # fmt: skip

    def _average(self, unit: Unit, source: str) -> None:
        output = f"{unit.output}.mean" if unit.flat else unit.output
        self._add("TileGlobalAverage", unit.name, [source], output,
                  input_size=list(unit.window.size))  # fmt: skip
        if unit.flat:
            name = f"{unit.output}.flat"
            self.nodes.append(helper.make_node("Flatten", [output], [unit.output], name=name))

    def _bias(self, unit: Unit) -> str:
        """Return the name of a bias of one dimension, as the kernels take it."""
        if not unit.bias:
            return ""
        tensor = next(each for each in self._model.graph.initializer if each.name == unit.bias)
        if len(tensor.dims) == 1:
            self._keep(unit.bias)
            return unit.bias
        name = f"{unit.bias}.flat"
        flat = np.asarray(numpy_helper.to_array(tensor)).reshape(-1)
        self.tensors[name] = numpy_helper.from_array(flat, name)
        return name

    def _to_tiles(self, value: str, family: Family) -> str:
        if (value, family) not in self._tiled:
            self.need_plain([value])
            name = f"{value}.to_{family}"
            self._add("ToTiles", name, [value], f"{name}.tiles",
                      channels_last=int(family == "tokens"))  # fmt: skip
            self._tiled[value, family] = f"{name}.tiles"
            if family == "tokens":
                self._leading.setdefault(value, value)
        return self._tiled[value, family]

    def _keep(self, name: str) -> None:
        tensor = next(each for each in self._model.graph.initializer if each.name == name)
        self.tensors[name] = tensor

    def _add(
        self, operator: str, name: str, inputs: Sequence[str], output: str, **attributes: Any
    ) -> None:
        self.used = True
        self.nodes.append(kernel_node(operator, name, inputs, output, **attributes))


def _inputs(node: NodeProto) -> list[str]:
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [name for inner in graph.node for name in _inputs(inner)]
            names += [value.name for value in graph.output]
    return names


def _replace_tensors(graph: onnx.GraphProto, emitter: _Emitter) -> None:
    """Keep the tensors that a node still takes, and add those of the kernels' nodes."""
    needed = {name for node in emitter.nodes for name in _inputs(node)}
    needed |= {value.name for value in graph.output}
    kept: Mapping[str, onnx.TensorProto] = {
        each.name: each for each in graph.initializer if each.name in needed
    }
    tensors = list({**kept, **emitter.tensors}.values())
    tensors = [onnx.TensorProto.FromString(each.SerializeToString()) for each in tensors]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
