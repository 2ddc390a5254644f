"""How many bytes a prune step holds besides the gradient bank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from .columns import chunk_width, window_bytes
from .criterion import Fisher
from .layout import Block, Layout, Run
from .moments import moment_bytes, worth_keeping
from .woodfisher import cut

Place = Literal["device", "host", "disk", "passes"]

_GIVEN = 5
"""Bytes for each weight of a prune step's input: its value and whether it is kept."""

_CHOICE = {"unstructured": (28, 11), "groups": (42, 36), "swaps": (61, 10), "diagonal": (45, 5)}
"""Bytes for each weight, and more for each weight of the largest layer, that scores, keys, masks
and the new weights take while they are computed: counted, and held by tests of the peak."""

_FIRST_ORDER = 16
_WHOLE_NETWORK = 2
"""Bytes for each weight more for woodtaylor's shifted weights, and for one block for all layers."""

_MATRICES, _CHUNKS, _BATCHES = 8, 4, 5
"""How many N × N matrices, chunks of float64 columns, and copies of the gradients of a batch of
blocks are held at a time: counted likewise."""


@dataclass(frozen=True)
class Demand:
    """The sizes of a prune step, and what is done in it.

    Args:
        rows: N, the number of gradients.
        layout: the layers.
        criterion: its name; one that reads a bank.
        fisher: its blocks and what may be kept are read.
        grouped: whether the pattern has groups of weights.
        swaps: whether weights are exchanged after the choice.
        at_once: samples whose gradients would best be computed together; fewer where memory is
            short.
        cut: whether mini-batches are cut into micro-batches.
        device: kind of the device that computes, ``"cpu"`` or ``"cuda"``.

    Raises:
        ValueError: when a number is not positive.
    """

    rows: int
    layout: Layout
    criterion: str = "woodfisher"
    fisher: Fisher = Fisher()  # noqa: RUF009 (immutable)
    grouped: bool = False
    swaps: bool = False
    at_once: int = 1
    cut: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.rows < 1 or self.total < 1:
            raise ValueError(f"a bank needs rows and columns, got {self.rows} × {self.total}")
        if self.at_once < 1:
            raise ValueError(f"at_once must be >= 1, got {self.at_once}")

    @property
    def total(self) -> int:
        """d, the number of weights."""
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
    more = _GIVEN
    if demand.criterion == "woodtaylor":
        more += _FIRST_ORDER
    if "network" in demand.blocks:
        more += _WHOLE_NETWORK
    return max(sizes) + more * demand.total


def kept_bytes(demand: Demand) -> int:
    """Return the bytes of second moments that are kept for another damping."""
    if demand.criterion == "diag-fisher":
        return 0
    runs = {run for block in demand.blocks for run in _runs(demand, block)}
    kept = sum(moment_bytes(demand.rows, r) for r in runs if worth_keeping(demand.rows, r))
    return min(demand.fisher.cache_bytes, kept)


def scratch_bytes(demand: Demand, place: Place, dtype: torch.dtype) -> int:
    """Return the bytes of matrices, and of columns of the bank that are worked on at a time."""
    rows, device = demand.rows, demand.device
    chunk = 8 * rows * min(chunk_width(rows, device), demand.total)
    window = min(window_bytes(rows, device), 4 * rows * demand.total)
    runs = [run for block in demand.blocks for run in _runs(demand, block)]
    batches = [run.count * run.size * max(rows, run.size) for run in runs if run.count > 1]
    batch = max(batches, default=0)
    if place == "device" and dtype == torch.float32:
        window = 0  # a part is a view
    elif batch:
        window = max(window, 4 * batch)
    if demand.criterion == "diag-fisher":
        return _CHUNKS * chunk + window
    single = max((min(rows, 2 * run.size) ** 2 for run in runs if run.count == 1), default=0)
    return _CHUNKS * chunk + window + 8 * _MATRICES * single + 8 * _BATCHES * batch


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


def staging_bytes(demand: Demand) -> int:
    """Return the bytes of main memory through which parts of a bank go to a GPU."""
    return 2 * window_bytes(demand.rows, demand.device) + 8 * demand.widest


def _runs(demand: Demand, block: Block) -> list[Run]:
    whole = demand.layout.blocks(block)
    if block == "network":
        whole += demand.layout.blocks("layer")
    return [part for run in whole for part in cut(run, demand.rows)]
