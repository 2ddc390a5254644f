"""Named tensors as one vector of d weights, and the blocks that it is cut into."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor

from .reduction import WHOLE, Reduction

Block = Literal["layer", "network"] | int


@dataclass(frozen=True)
class Run:
    """``count`` consecutive blocks of ``size`` weights, from position ``start`` of the vector.

    ``shared`` are the parts of the vector that hold columns of this one block, where there are
    several; then ``size`` counts those at hand, and ``name`` says which block it is.
    """

    start: int
    count: int
    size: int
    shared: tuple[int, ...] = ()
    name: str = ""

    @property
    def stop(self) -> int:
        """The position after the last weight."""
        return self.start + self.count * self.size

    def vectors(self, v: Tensor) -> Tensor:
        """View the part of ``v`` (d,) that this run covers: (size,), or (count, size)."""
        part = v[self.start : self.stop]
        return part if self.count == 1 else part.view(self.count, self.size)


class Layout:
    """The order in which named tensors are laid out in a vector of ``total`` entries.

    A layout may be that of a part of the vector (:meth:`part`): ``whole`` is that of all of it,
    and ``sums`` adds up over the parts. Of a layout that is no part, ``whole`` is itself.
    """

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
        self.whole: Layout = self
        self.sums: Reduction = WHOLE
        self._cuts: tuple[int, ...] = (0, self.total)

    def part(self, cuts: Sequence[int], sums: Reduction) -> Layout:
        """Return the layout of what one part of the vector has of each tensor.

        A piece has the shape of its tensor along all axes but the first where it is cut between
        rows, and is a vector otherwise.

        Args:
            cuts: where the parts begin, in rising order, and d at the end.
            sums: which of the parts this is, and how sums over all of them are formed.

        Raises:
            ValueError: when the part holds nothing.
        """
        first, last = cuts[sums.number], cuts[sums.number + 1]
        if first == last:
            raise ValueError(f"part {sums.number} of {sums.parts} of {self.total} weights is empty")
        pieces = {}
        for name, place in self.places.items():
            low, high = max(first, place.start), min(last, place.stop)
            if low < high:
                shape = self._cut(name, low - place.start, high - place.start)
                pieces[name] = torch.empty(shape, device="meta")
        found = Layout(pieces)
        found.device, found.whole, found.sums = self.device, self.whole, sums
        found._cuts = tuple(cuts)
        return found

    @property
    def place(self) -> slice:
        """Where this part lies in the whole vector."""
        number = self.sums.number
        return slice(self._cuts[number], self._cuts[number + 1])

    def holders(self, name: str) -> tuple[int, ...]:
        """Return the parts that hold pieces of a tensor, in rising order."""
        place = self.whole.places[name]
        first = bisect_right(self._cuts, place.start) - 1
        last = bisect_right(self._cuts, place.stop - 1) - 1
        return tuple(range(first, last + 1))

    def sums_of(self, name: str) -> Reduction:
        """Return how sums over the holders of a tensor, of which this is one, are formed."""
        holders = self.holders(name)
        return self.sums.among(holders) if len(holders) > 1 else WHOLE

    def _cut(self, name: str, low: int, high: int) -> tuple[int, ...]:
        shape = self.shapes[name]
        row = shape[1:].numel()
        if len(shape) > 1 and low % row == 0 and high % row == 0:
            return ((high - low) // row, *shape[1:])
        return (high - low,)

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
            if self.sums.parts == 1:
                return [Run(0, 1, self.total)]
            return [Run(0, 1, self.total, tuple(range(self.sums.parts)), "network")]
        runs = []
        for name, place in self.places.items():
            holders = self.holders(name) if block == "layer" else ()
            if len(holders) > 1:
                runs.append(Run(place.start, 1, place.stop - place.start, holders, f"of {name}"))
                continue
            length = place.stop - place.start
            size = length if block == "layer" else min(int(block), length)
            count, rest = divmod(length, size)
            runs.append(Run(place.start, count, size))
            if rest:
                runs.append(Run(place.stop - rest, 1, rest))
        return runs
