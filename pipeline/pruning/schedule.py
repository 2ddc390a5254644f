"""The sparsity after each prune step."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["cubic", "linear"]
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
    power = _POWER[schedule]
    path = [target + (start - target) * (1 - i / steps) ** power for i in range(1, steps)]
    return [*path, target]


def substeps(start: float, target: float, count: int) -> list[float]:
    """Return the sparsity after each of ``count`` sub-steps of one prune step.

    The kept share falls by the same factor each time, so that every sub-step removes the same
    share of what is left (a heuristic: late weights matter more).
    """
    factor = (1 - target) / (1 - start)
    path = [1 - (1 - start) * factor ** (i / count) for i in range(1, count)]
    return [*path, target]
