"""Slow, brute-force forms of the choice of masks, written from the definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import torch
from torch import Tensor

from wfpipe.pipeline.pruning.tensors.prunables import Axes


def removal_loss(v: Tensor, F: Tensor, removed: Sequence[int]) -> float:
    """½ min (w′−v)ᵀF(w′−v) with w′ = 0 on the removed weights, by solving for the others."""
    kept = [i for i in range(len(v)) if i not in set(removed)]
    gone = list(removed)
    change = torch.zeros(len(v), dtype=torch.float64)
    change[gone] = -v[gone].double()
    if kept:
        right = -F[kept][:, gone] @ change[gone]
        change[kept] = torch.linalg.solve(F[kept][:, kept], right)
    return 0.5 * float(change @ F @ change)


def best_subset(
    v: Tensor, F: Tensor, candidates: Sequence[int], count: int
) -> tuple[float, tuple[int, ...]]:
    """The set of ``count`` candidates whose removal costs least, by trying all."""
    return min((removal_loss(v, F, chosen), chosen) for chosen in combinations(candidates, count))


def greedy_subset(
    v: Tensor, F: Tensor, candidates: Sequence[int], count: int
) -> tuple[float, tuple[int, ...]]:
    """The set that grows by the weight whose removal costs least beside those chosen before."""
    chosen: list[int] = []
    for _ in range(count):
        rest = [i for i in candidates if i not in chosen]
        chosen.append(min(rest, key=lambda i: removal_loss(v, F, [*chosen, i])))
    return removal_loss(v, F, chosen), tuple(sorted(chosen))


def groups(shape: Sequence[int], axes: Axes, along: str, length: int) -> list[list[int]]:
    """Positions of consecutive channels, one loop for each axis; the rest is a shorter group."""
    axis = axes.inputs if along == "in" else 1 - axes.inputs
    parts = axes.groups if axis == 0 else 1
    run = shape[axis] // parts
    found = []
    for place in product(*(range(n) for i, n in enumerate(shape) if i != axis)):
        for part in range(parts):
            for start in range(0, run, length):
                group = []
                for channel in range(start, min(start + length, run)):
                    index = list(place)
                    index.insert(axis, part * run + channel)
                    position = 0
                    for n, i in zip(shape, index, strict=True):
                        position = position * n + i
                    group.append(position)
                found.append(group)
    return found


def obeys(mask: Tensor, axes: Axes, kept: int, length: int) -> bool:
    """Whether of each M consecutive input channels at most N are kept."""
    flat = mask.reshape(-1).tolist()
    return all(
        sum(flat[i] for i in group) <= kept for group in groups(mask.shape, axes, "in", length)
    )


def erk_densities(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, float]:
    """Evci et al. 2020: layers that would be more than dense become dense, one loop after another.

    The density of the others is ε · (sum of dimensions / product of dimensions).
    """
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        wanted = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        raw = {name: sum(shapes[name]) / sizes[name] for name in shapes if name not in dense}
        epsilon = wanted / sum(raw[name] * sizes[name] for name in raw)
        over = {name for name in raw if epsilon * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in dense else epsilon * raw[name] for name in shapes}
        dense.add(max(over, key=lambda name: raw[name]))


def global_choice(
    losses: list[float], sizes: list[int], budget: int, taken: Sequence[int] = ()
) -> set[int]:
    """Units in rising order of loss per weight until the next does not fit; ties by number."""
    order = sorted(range(len(losses)), key=lambda i: (losses[i] / sizes[i], i))
    chosen: set[int] = set(taken)
    for i in order:
        if i in chosen:
            continue
        if sizes[i] > budget:
            break
        budget -= sizes[i]
        chosen.add(i)
    return chosen


class DenseModel:
    """A local quadratic model with a dense float64 Fisher, as much of it as the choice reads."""

    def __init__(self, F: Tensor, shift: Tensor | None = None) -> None:
        self.F, self.inverse = F, torch.linalg.inv(F)
        self.shift = torch.zeros(len(F), dtype=torch.float64) if shift is None else shift

    def target(self, w: Tensor) -> Tensor:
        return w.double() - self.shift

    def scores(self, w: Tensor) -> Tensor:
        scores: Tensor = self.target(w).square() / (2 * self.inverse.diagonal())
        return scores

    def group_inverse(self, groups: Tensor) -> Tensor:
        parts: Tensor = self.inverse[groups[:, :, None], groups[:, None, :]]
        return parts
