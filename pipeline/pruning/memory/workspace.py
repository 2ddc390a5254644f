"""How many bytes a prune step holds besides the gradient bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from ..choice.patterns import _ENTRIES_ASKED as ENTRIES_ASKED
from ..criteria.criterion import Fisher
from ..criteria.woodfisher import cut
from ..curvature.fisher import weight_space_is_cheaper
from ..curvature.moments import moment_bytes, worth_keeping
from ..gradients.columns import chunk_width, window_bytes
from ..tensors.layout import Block, Layout, Run

Place = Literal["device", "host", "disk", "passes"]

_GIVEN = 5
"""Bytes for each weight of a prune step's input: its value and whether it is kept."""

_CHOICE = {"unstructured": (29, 19), "groups": (34, 52), "swaps": (61, 4), "diagonal": (50, 0)}
"""Bytes for each weight, and more for each weight of the largest layer, that scores, keys, masks
and the new weights take while they are computed: counted, and held by tests of the peak."""

_FIRST_ORDER = 14
_WHOLE_NETWORK = 2
"""Bytes for each weight more for woodtaylor's shifted weights, and for one block for all layers."""

_ATTEMPT = 5
"""Bytes for each weight of the best result so far, where several dampings are tried."""

_MATRICES, _BATCH_MATRICES = 5, 4
"""Matrices of N × N, or B × B, held at a time: second moment, F or K, factor, inverse, part; in a
batch of blocks the last is small."""

_CHUNK_ENTRY, _BATCH_ENTRY = 40, 24
"""Bytes for each gradient entry of a chunk of columns (float32 columns waiting and joined, float64,
products), and of a batch of blocks that is whole at work."""

_GROUP_ENTRY = 64
"""Bytes for each entry of the inverse Fishers of groups that are asked for at a time."""


@dataclass(frozen=True)
class Demand:
    """The sizes of a prune step, and what is done in it.

    Args:
        rows: N, the number of gradients.
        layout: the layers.
        criterion: its name; one that reads a bank.
        fisher: its blocks and what may be kept are read.
        grouped: whether the pattern has groups of weights.
        group: weights in such a group.
        swaps: whether weights are exchanged after the choice.
        tuned: whether several dampings are tried.
        at_once: samples whose gradients would best be computed together; fewer where memory is
            short.
        cut: whether mini-batches are cut into micro-batches.
        device: kind of the device that computes, ``"cpu"`` or ``"cuda"``.
        exchanged: bytes of rows that are held on their way to others and from them, where the
            layout is that of a part of the weights.

    Raises:
        ValueError: when a number is not positive.
    """

    rows: int
    layout: Layout
    criterion: str = "woodfisher"
    fisher: Fisher = Fisher()  # noqa: RUF009 (immutable)
    grouped: bool = False
    group: int = 8
    swaps: bool = False
    tuned: bool = False
    at_once: int = 1
    cut: bool = False
    device: str = "cpu"
    exchanged: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1 or self.total < 1:
            raise ValueError(f"a bank needs rows and columns, got {self.rows} × {self.total}")
        if self.at_once < 1:
            raise ValueError(f"at_once must be >= 1, got {self.at_once}")

    @property
    def total(self) -> int:
        """d, the number of weights whose columns the bank has."""
        return self.layout.total

    @property
    def widest(self) -> int:
        """The number of weights of the largest layer."""
        return max(self.layout.sizes.values())

    @property
    def on_gpu(self) -> bool:
        """Whether the device has memory of its own."""
        return self.device != "cpu"

    @property
    def blocks(self) -> Sequence[Block]:
        """The kinds of blocks that the weights are cut into."""
        if self.criterion == "mfac":
            return ["network"]
        if self.criterion == "woodtaylor":
            return [self.fisher.block, self.fisher.taylor_block]
        return [self.fisher.block]


def mathematics_bytes(demand: Demand, place: Place, dtype: torch.dtype) -> int:
    """Return the bytes that scores, choice and update hold at most, besides the bank."""
    return vector_bytes(demand) + kept_bytes(demand) + scratch_bytes(demand, place, dtype)


def vector_bytes(demand: Demand) -> int:
    """Return the bytes of vectors with an entry for each weight, or for each of a layer."""
    kind = "diagonal" if demand.criterion == "diag-fisher" else "unstructured"
    kinds = [kind, *(["groups"] if demand.grouped else []), *(["swaps"] if demand.swaps else [])]
    sizes = [_CHOICE[name][0] * demand.total + _CHOICE[name][1] * demand.widest for name in kinds]
    more = _GIVEN + _ATTEMPT * demand.tuned
    if demand.criterion == "woodtaylor":
        more += _FIRST_ORDER
    if "network" in demand.blocks:
        more += _WHOLE_NETWORK
    return max(sizes) + more * demand.total


def kept_bytes(demand: Demand) -> int:
    """Return the bytes of second moments that are kept for another damping."""
    if demand.criterion == "diag-fisher":
        return 0
    rows, runs = demand.rows, _runs(demand)
    own = [run for run in runs if not run.shared and worth_keeping(rows, run)]
    shared = 2 * 8 * rows**2 * sum(1 for run in runs if run.shared)  # of all columns, and of ours
    return shared + min(demand.fisher.cache_bytes, sum(moment_bytes(rows, run) for run in own))


def scratch_bytes(demand: Demand, place: Place, dtype: torch.dtype) -> int:
    """Return the bytes of matrices, and of columns of the bank that are worked on at a time."""
    rows, device, runs = demand.rows, demand.device, _runs(demand)
    batch = max((run.size * run.count for run in runs if run.count > 1), default=0)
    window = max(min(window_bytes(rows, device), 4 * rows * demand.total), 4 * rows * batch)
    window *= _copies(demand, place, dtype)
    if demand.criterion == "diag-fisher":
        return _CHUNK_ENTRY * rows * chunk_width(rows, device) + window
    groups = 0
    if demand.grouped:
        groups = _GROUP_ENTRY * min(ENTRIES_ASKED, demand.group * demand.widest)
    return max(_run_bytes(rows, run, device) for run in runs) + window + groups


def _copies(demand: Demand, place: Place, dtype: torch.dtype) -> int:
    """Return how often the columns that are asked for at a time are copied to be given."""
    copies = int(dtype != torch.float32 or place in ("host", "disk"))
    if place == "host" and dtype != torch.float32:
        copies += 1  # moved to the device first, then converted
    if place == "passes" and "network" in demand.blocks:
        copies += 1  # put together from two groups
    return copies


def _run_bytes(rows: int, run: Run, device: str) -> int:
    """Return the bytes of the columns and matrices of a run of blocks at work."""
    in_weight_space = not run.shared and weight_space_is_cheaper(rows, run.size)
    side = run.size if in_weight_space else rows
    matrices = 8 * (_MATRICES if run.count == 1 else _BATCH_MATRICES) * run.count * side**2
    if run.count > 1 and not in_weight_space:
        return matrices + _BATCH_ENTRY * rows * run.size * run.count
    return matrices + _CHUNK_ENTRY * rows * chunk_width(rows, device)


def collection_bytes(demand: Demand, columns: int, at_once: int, mean: bool) -> int:
    """Return the bytes that collecting gradients of ``columns`` weights holds besides the bank.

    What the network's own forward and backward pass take for a mini-batch is not counted.

    Args:
        demand: the sizes.
        columns: weights whose gradients are collected.
        at_once: samples whose gradients are computed together.
        mean: whether the mean gradient is, too.
    """
    per_column = 3 + 4 * (mean + demand.cut)  # three masks
    if at_once > 1:
        per_column += 4 * (at_once + mean)
    return per_column * columns + 8 * min(columns, demand.widest)


def sharing_bytes(demand: Demand, mean: bool, at_once: int) -> int:
    """Return the bytes that collecting holds where the bank has a part of the columns alone.

    Gradients are those of all weights, of which rows go to others, and so are the vectors of
    weights and masks that a choice ends with.
    """
    whole = demand.layout.whole.total
    return demand.exchanged + collection_bytes(demand, whole, at_once, mean)


def staging_bytes(demand: Demand) -> int:
    """Return the bytes of main memory through which parts of a bank go to a GPU."""
    return 2 * window_bytes(demand.rows, demand.device) + 8 * demand.widest


def _runs(demand: Demand) -> list[Run]:
    """Return the runs of blocks that are factored at a time."""
    layout, rows = demand.layout, demand.rows
    runs = {
        part: None
        for block in demand.blocks
        for run in layout.blocks(block)
        for part in cut(run, rows)
    }
    if "network" in demand.blocks:
        runs |= dict.fromkeys(layout.blocks("layer"))
    return list(runs)
