"""The bytes that a criterion on a gradient bank holds besides the bank: the formula of its code."""

from __future__ import annotations

from .columns import chunk_width
from .criterion import Fisher
from .fisher import weight_space_is_cheaper
from .layout import Layout, Run
from .moments import moment_bytes, worth_keeping
from .woodfisher import cut

_MATRICES = 5
"""Matrices of N × N (or B × B) held at a time: second moment, F or K, factor, inverse, part."""

_CHUNK_ENTRY = 40
"""Bytes for each entry of a chunk: float32 columns waiting and joined, float64, products."""


def criterion_bytes(
    rows: int, layout: Layout, fisher: Fisher, *, shift: bool = False, device: str = "cpu"
) -> int:
    """Return the most bytes held besides bank, weights and mask while a criterion works.

    Counted are the second moments kept, the matrices of one run of blocks, the columns worked on
    and vectors of d entries, the results of ``scores`` and ``update`` among them. Not counted are
    the copies of columns that a bank makes to give them (see ``columns.window_bytes``), and the
    results of ``group_inverse``.

    Args:
        rows: N.
        layout: the layers.
        fisher: block, precision and the limit on what is kept.
        shift: True for woodtaylor, which holds its shift h and makes a pass with its own blocks.
        device: kind of device that the bank gives its columns on.
    """
    runs = _runs(rows, layout, fisher, shift)
    room, kept = fisher.cache_bytes, 0
    for run in runs:
        needed = moment_bytes(rows, run)
        if worth_keeping(rows, run) and kept + needed <= room:
            kept += needed
    largest = max(run.stop - run.start for run in runs)
    working = max(_matrix_bytes(rows, run) for run in runs)
    chunk = _CHUNK_ENTRY * max(
        rows * (run.size * run.count if run.count > 1 else chunk_width(rows, device))
        for run in runs
    )
    held = (2 if shift else 1) * 8 * layout.total
    scores = (2 if shift else 1) * 8 * layout.total
    update = (4 + (8 if shift else 0)) * layout.total + 22 * largest
    return kept + working + chunk + held + max(scores, update)


def _runs(rows: int, layout: Layout, fisher: Fisher, shift: bool) -> list[Run]:
    blocks = [fisher.block] + ([fisher.taylor_block] if shift else [])
    runs = dict.fromkeys(
        part for block in blocks for run in layout.blocks(block) for part in cut(run, rows)
    )
    if "network" in blocks:
        runs |= dict.fromkeys(layout.blocks("layer"))
    return list(runs)


def _matrix_bytes(rows: int, run: Run) -> int:
    side = run.size if weight_space_is_cheaper(rows, run.size) else rows
    return _MATRICES * 8 * run.count * side**2
