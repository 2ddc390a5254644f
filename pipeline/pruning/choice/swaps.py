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

import torch
from torch import Tensor

from ..criteria.criterion import Criterion

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
    within: Sequence[slice],
) -> Exchange:
    """Improve a mask by exchanges under the joint update.

    Args:
        criterion: the model of the loss around ``w``.
        w: weights before the update, ``Float[d]``.
        keep: the mask to begin with, ``Bool[d]``.
        free: True where a weight may be kept or pruned, ``Bool[d]``; others stay as ``keep`` has
            them.
        rounds: most rounds; a round that finds nothing ends the search.
        within: parts of the vector; exchanges keep the number of pruned weights of each.
    """
    best = _joint(criterion, w, keep, 0)
    for _ in range(rounds):
        leaving, coming = _pairs(criterion, w, best, free, within)
        before, count = best, len(leaving)
        for _ in range(_ATTEMPTS):
            if not count:
                break
            mask = best.keep.clone()
            mask[leaving[:count]] = False
            mask[coming[:count]] = True
            found = _joint(criterion, w, mask, best.swaps + count)
            if found.excess < best.excess:
                best = found
                break
            count //= _SHRINK
        if best is before:
            break
    return best


def _joint(criterion: Criterion, w: Tensor, keep: Tensor, swaps: int) -> Exchange:
    new = criterion.update(w, keep, "joint")
    return Exchange(keep, new, swaps, criterion.excess(w, new))


def _pairs(
    criterion: Criterion, w: Tensor, now: Exchange, free: Tensor, within: Sequence[slice]
) -> tuple[Tensor, Tensor]:
    """Return weights to remove and weights to put back, by falling gain of the exchange."""
    worth = criterion.exchange_scores(w, now.weights, now.keep)
    leaving, coming, gains = [], [], []
    for part in within:
        kept, free_part, value = now.keep[part], free[part], worth[part]
        out = _sorted(torch.nonzero(kept & free_part)[:, 0], value, descending=False)
        back = _sorted(torch.nonzero(~kept & free_part)[:, 0], value, descending=True)
        pairs = min(len(out), len(back))
        gain = value[back[:pairs]] - value[out[:pairs]]
        positive = int((gain > 0).sum())
        leaving.append(out[:positive] + part.start)
        coming.append(back[:positive] + part.start)
        gains.append(gain[:positive])
    order = torch.argsort(torch.cat(gains), descending=True, stable=True)
    return torch.cat(leaving)[order], torch.cat(coming)[order]


def _sorted(positions: Tensor, value: Tensor, *, descending: bool) -> Tensor:
    return positions[torch.argsort(value[positions], descending=descending, stable=True)]
