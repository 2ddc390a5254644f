"""The learning rate over a run."""

from __future__ import annotations

import math


def warmup_cosine(step: int, total: int, warmup: int) -> float:
    """Return the share of the highest learning rate at ``step`` (0-based) of ``total``.

    It rises linearly over the first ``warmup`` steps (Goyal et al. 2017, arXiv 1706.02677,
    section 2.2) and falls along half a cosine over the others (Loshchilov & Hutter 2017, arXiv
    1608.03983, equation 5); it is above 0 at every step.
    """
    if not 0 <= step < total:
        raise ValueError(f"step must be in [0, {total}), got {step}")
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup + 0.5) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))
