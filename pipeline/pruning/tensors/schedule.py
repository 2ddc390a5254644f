"""The sparsity after each prune step, and after each sub-step of one."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

Schedule = Literal["cubic", "linear"]
Spacing = Literal["geometric", "linear", "cubic"]
_POWER = {"cubic": 3, "linear": 1}


def sparsities(target: float, steps: int, schedule: Schedule, *, start: float = 0.0) -> list[float]:
    """Return the sparsity after each of ``steps`` prune steps, the last being ``target`` itself.

    s_i = target + (start − target)(1 − i/steps)^p with p = 3 (cubic: Zhu & Gupta 2017, arXiv
    1710.01878, equation 1) or p = 1 (linear).

    Args:
        target: sparsity after the last step, in [start, 1).
        steps: number of prune steps, ≥ 1.
        schedule: ``"cubic"`` or ``"linear"``.
        start: sparsity before the first step.

    Raises:
        ValueError: when the numbers are out of range.
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    if not 0 <= start <= target < 1:
        raise ValueError(f"0 <= start <= target < 1 must hold, got {start} and {target}")
    return _polynomial(start, target, steps, _POWER[schedule])


def substeps(
    start: float, target: float, count: int, spacing: Spacing = "geometric"
) -> list[float]:
    """Return the sparsity after each of ``count`` sub-steps, the last being ``target`` itself.

    Args:
        start: sparsity before the first sub-step.
        target: sparsity after the last, in (start, 1).
        count: number of sub-steps, ≥ 1.
        spacing: ``"geometric"``: the kept share falls by the same factor each time, so that every
            sub-step removes the same share of what is left (a heuristic: late weights matter
            more); ``"linear"`` and ``"cubic"``: as in :func:`sparsities`.

    Raises:
        ValueError: when the numbers are out of range, or two sub-steps fall on one sparsity.
    """
    if count < 1:
        raise ValueError(f"sub-steps must be >= 1, got {count}")
    if not 0 <= start < target < 1:
        raise ValueError(f"0 <= start < target < 1 must hold, got {start} and {target}")
    if spacing == "geometric":
        factor = (1 - target) / (1 - start)
        path = [1 - (1 - start) * factor ** (i / count) for i in range(1, count)]
        path.append(target)
    else:
        path = _polynomial(start, target, count, _POWER[spacing])
    if any(a >= b for a, b in pairwise([start, *path])):
        raise ValueError(
            f"sparsity must rise with each of {count} {spacing} sub-steps "
            f"from {start} to {target}: take fewer of them"
        )
    return path


def _polynomial(start: float, target: float, count: int, power: int) -> list[float]:
    path = [target + (start - target) * (1 - i / count) ** power for i in range(1, count)]
    return [*path, target]
