"""The WoodFisher criterion (Singh & Alistarh 2020, arXiv 2004.14340, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..curvature.moments import Moments
from ..gradients.bank import Bank
from ..gradients.evidence import Evidence
from ..tensors.layout import Layout, Run
from .criterion import Fisher
from .quadratic import Quadratic

_BATCH_ELEMENTS = 1 << 21
"""Entries of gradients and matrices of blocks that are factored in one batch: a heuristic."""


def woodfisher(evidence: Evidence, layout: Layout, fisher: Fisher) -> Quadratic:
    """Return the quadratic model under the block-wise empirical Fisher.

    Args:
        evidence: its bank is read.
        layout: the layers of the d weights.
        fisher: damping, block, precision and what may be kept.

    Raises:
        ValueError: when there is no bank, or it does not fit the layout.
        FactorisationError: when a relative damping finds nothing but zeros.
    """
    moments = moments_of(evidence, layout, fisher)
    damping = fisher.damping * (moments.mean_diagonal() if fisher.relative else 1.0)
    runs = [part for run in layout.blocks(fisher.block) for part in cut(run, moments.bank.rows)]
    moments.share(runs)
    return Quadratic(
        runs,
        lambda run: moments.inverse(run, damping),
        samples=evidence.batch,
        verify=moments.refuse_zeros,
        sums=layout.sums,
    )


def moments_of(evidence: Evidence, layout: Layout, fisher: Fisher) -> Moments:
    """Return the second moments of the bank of some evidence, the same object each time.

    Raises:
        ValueError: when there is no bank, or it does not fit the layout.
    """
    bank = bank_of(evidence, layout)
    key = (fisher.precision, tuple(layout.sizes.values()))
    if key not in evidence.derived:
        evidence.derived[key] = Moments(bank, layout, fisher.precision, fisher.cache_bytes)
    moments: Moments = evidence.derived[key]
    return moments


def bank_of(evidence: Evidence, layout: Layout) -> Bank:
    """Return the bank of some evidence.

    Raises:
        ValueError: when there is none, or it does not fit the layout.
    """
    bank = evidence.bank
    if bank is None:
        raise ValueError("this criterion needs a gradient bank")
    if bank.total != layout.total or bank.rows == 0:
        raise ValueError(
            f"a gradient bank needs rows, and a column for each of {layout.total} weights; "
            f"got {bank.rows} × {bank.total}"
        )
    return bank


def cut(run: Run, rows: int) -> Iterator[Run]:
    """Cut a run into runs of as many blocks as are factored in one batch."""
    count = max(1, _BATCH_ELEMENTS // (max(rows, run.size) * run.size))
    for first in range(0, run.count, count):
        start, blocks = run.start + first * run.size, min(count, run.count - first)
        yield replace(run, start=start, count=blocks)
