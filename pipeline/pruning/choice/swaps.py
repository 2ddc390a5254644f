"""A local search on the choice of weights: exchange pruned for kept ones while the loss falls.

Scores rate each weight as if it went alone. Once a mask is chosen and the kept weights are updated
for it, every weight can be rated again given all the others: what it costs to remove a kept one,
what it saves to put a pruned one back (both exact for one weight). Where the second is more than
the first, the two change places. Many do at a time; the round counts only if the joint loss falls.
The idea of improving a mask by exchanges is that of Yu, Serra, Ramalingam & Zhe 2022 (arXiv
2203.04466, section 4); the rating here is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..criteria.criterion import Criterion
from ..tensors.layout import Layout
from ..tensors.reduction import Reduction, agreed, total
from .selection import FIRST, NEVER, lowest, ordered_keys

_SHRINK, _ATTEMPTS = 4, 3
"""A round whose joint loss rises is tried again with a fraction of the exchanges, so many times in
all: heuristics."""


@dataclass(frozen=True)
class Exchange:
    """A mask, ``Bool[d]``, the weights that fit it, ``Float[d]``, and how they were found.

    ``swaps`` counts pairs exchanged; ``excess`` is what the joint update leaves, in nats.
    """

    keep: Tensor
    weights: Tensor
    swaps: int
    excess: float


def exchange(
    criterion: Criterion,
    w: Tensor,
    keep: Tensor,
    free: Tensor,
    *,
    rounds: int,
    layout: Layout,
    within: Literal["network", "layer"],
) -> Exchange:
    """Improve a mask by exchanges under the joint update.

    Args:
        criterion: the model of the loss around ``w``.
        w: weights before the update, ``Float[d]``.
        keep: the mask to begin with, ``Bool[d]``.
        free: True where a weight may be kept or pruned, ``Bool[d]``; others stay as ``keep`` has
            them.
        rounds: most rounds; a round that finds nothing ends the search.
        layout: the layers.
        within: exchanges keep the number of pruned weights of the network, or of each layer.
    """
    if within == "network":
        parts = [_Part(slice(0, layout.total), layout.sums)]
    else:
        parts = [_Part(place, layout.sums_of(name)) for name, place in layout.places.items()]
    best = _joint(criterion, w, keep, 0)
    for _ in range(rounds):
        worth = criterion.exchange_scores(w, best.weights, best.keep)
        with agreed(layout.sums):
            keys = ordered_keys(worth)
        most = [part.pairs(keys, best.keep, free) for part in parts]
        before = best
        for attempt in range(_ATTEMPTS):
            counts = [pairs // _SHRINK**attempt for pairs in most]
            mine = sum(n for n, part in zip(counts, parts, strict=True) if part.sums.number == 0)
            count = round(total(layout.sums, [mine], w)[0])
            if not count:
                break
            mask = _exchanged(best.keep, keys, free, parts, counts)
            found = _joint(criterion, w, mask, best.swaps + count)
            if found.excess < best.excess:
                best = found
                break
        if best is before:
            break
    return best


@dataclass(frozen=True)
class _Part:
    """A part of the vector whose number of pruned weights stays, and who else holds some of it."""

    place: slice
    sums: Reduction

    def pairs(self, keys: Tensor, keep: Tensor, free: Tensor) -> int:
        """Return how many pruned weights save more than as many kept ones cost, taken in order.

        For a threshold t that is the lesser of the number of kept weights below t and of the
        pruned ones not below it; the best t is where the two cross, which a bisection finds.
        """
        key, kept, free = keys[self.place], keep[self.place], free[self.place]
        leaving, coming = key[kept & free], key[~kept & free]
        low, high, below, above = FIRST, NEVER, 0, 0
        near_leaving, near_coming = leaving, coming
        while low < high:
            middle = (low + high + 1) // 2
            under, over = near_leaving < middle, near_coming >= middle
            here = (below + int(under.sum()), above + int(over.sum()))
            fewer, more = total(self.sums, here, key)
            if fewer <= more:
                low, below = middle, here[0]
                near_leaving, near_coming = near_leaving[~under], near_coming[over]
            else:
                high, above = middle - 1, here[1]
                near_leaving, near_coming = near_leaving[under], near_coming[~over]
        counts = (int((leaving < low).sum()), int((coming > low).sum()))
        return round(max(total(self.sums, counts, key)))


def _exchanged(
    keep: Tensor, keys: Tensor, free: Tensor, parts: Sequence[_Part], counts: Sequence[int]
) -> Tensor:
    """Return the mask after the best pairs of each part changed places."""
    mask = keep.clone()
    for part, count in zip(parts, counts, strict=True):
        key, kept, movable = keys[part.place], keep[part.place], free[part.place]
        for side, order in ((kept & movable, key), (~kept & movable, -key)):
            ranked = order.masked_fill(~side, NEVER)
            (taken,) = lowest([ranked], [1], count, sums=part.sums, device=key.device)
            mask[part.place] ^= taken
    return mask


def _joint(criterion: Criterion, w: Tensor, keep: Tensor, swaps: int) -> Exchange:
    new = criterion.update(w, keep, "joint")
    return Exchange(keep, new, swaps, criterion.excess(w, new))
