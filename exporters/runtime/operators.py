"""The kernels' operators as nodes of a graph: their domain, names, and attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnx import NodeProto, helper

KERNEL_DOMAIN = "wfpipe"
VERSION = 1


@dataclass(frozen=True)
class Window:
    """How a convolution or a pooling reads its input; all tuples have a number per dimension.

    ``pads`` has those at the beginnings first, then those at the ends; ``size`` is the input's.
    """

    kernel: tuple[int, ...] = (1,)
    strides: tuple[int, ...] = (1,)
    pads: tuple[int, ...] = (0, 0)
    dilations: tuple[int, ...] = (1,)
    size: tuple[int, ...] = ()

    def attributes(self) -> dict[str, Any]:
        """Return what a node says of it; a dilation is left out of poolings, which have none."""
        found: dict[str, Any] = {
            "kernel_shape": list(self.kernel),
            "strides": list(self.strides),
            "pads": list(self.pads),
            "dilations": list(self.dilations),
        }
        return found | ({"input_size": list(self.size)} if self.size else {})


@dataclass(frozen=True)
class Activation:
    """What follows a layer: its name in the kernels, and its two parameters where it has any."""

    name: str = "none"
    low: float = 0.0
    high: float = 0.0

    def attributes(self) -> dict[str, Any]:
        """Return what a node says of it."""
        found: dict[str, Any] = {"activation": self.name}
        if self.name in ("clip", "leakyrelu"):
            found["low"] = self.low
        if self.name == "clip":
            found["high"] = self.high
        return found


def kernel_node(
    operator: str, name: str, inputs: Sequence[str], output: str, /, **attributes: Any
) -> NodeProto:
    """Return a node of the kernels' domain; empty names and empty lists are left out."""
    trimmed = list(inputs)
    while trimmed and not trimmed[-1]:
        trimmed.pop()
    given = {key: value for key, value in attributes.items() if value != []}
    return helper.make_node(operator, trimmed, [output], name=name, domain=KERNEL_DOMAIN, **given)


def output_size(window: Window) -> tuple[int, ...]:
    """Return the size of what a window leaves, by dimension."""
    count = len(window.size)
    ends = zip(window.pads[:count], window.pads[count:], strict=True)
    sizes = zip(window.size, window.kernel, window.strides, window.dilations, ends, strict=True)
    return tuple(
        (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1
        for size, kernel, stride, dilation, pads in sizes
    )
