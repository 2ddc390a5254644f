"""Named tensors as one vector of d weights, and the blocks that it is cut into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

Block = Literal["layer", "network"] | int


@dataclass(frozen=True)
class Run:
    """``count`` consecutive blocks of ``size`` weights, from position ``start`` of the vector."""

    start: int
    count: int
    size: int

    @property
    def stop(self) -> int:
        """The position after the last weight."""
        return self.start + self.count * self.size

    def vectors(self, v: Tensor) -> Tensor:
        """View the part of ``v`` (d,) that this run covers: (size,), or (count, size)."""
        part = v[self.start : self.stop]
        return part if self.count == 1 else part.view(self.count, self.size)


class Layout:
    """The order in which named tensors are laid out in a vector of ``total`` entries."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.sizes = {name: tensor.numel() for name, tensor in tensors.items()}
        ends = list(accumulate(self.sizes.values(), initial=0))
        self.total = ends[-1]
        self.device = next((t.device for t in tensors.values()), torch.device("cpu"))
        self.places = {
            name: slice(start, end)
            for name, start, end in zip(self.sizes, ends, ends[1:], strict=False)
        }

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the tensors as one vector (d,), a copy."""
        return torch.cat([tensors[name].detach().reshape(-1) for name in self.sizes])

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the tensors by name, as views of ``vector`` (d,)."""
        return {name: vector[place].view(self.shapes[name]) for name, place in self.places.items()}

    def blocks(self, block: Block) -> list[Run]:
        """Cut the vector into blocks; none reaches over two layers unless it is the network.

        Args:
            block: ``"network"`` (one block), ``"layer"`` (one for each tensor), or a number of
                weights (each tensor cut from its start; the last block takes what is left).
        """
        if block == "network":
            return [Run(0, 1, self.total)]
        runs = []
        for place in self.places.values():
            length = place.stop - place.start
            size = length if block == "layer" else min(int(block), length)
            count, rest = divmod(length, size)
            runs.append(Run(place.start, count, size))
            if rest:
                runs.append(Run(place.stop - rest, 1, rest))
        return runs
