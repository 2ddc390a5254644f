"""What a prune step and an epoch cost on many devices: formulas, checked on 1, 2 and 4 ranks.

    python benchmarks/scale_model.py            checks the formulas here, then prints the table
    python benchmarks/scale_model.py --table    the table alone

The check: 1, 2 and 4 processes with Gloo, N = 64 gradients of 60,000 weights a rank in seven
layers, so that cuts fall into layers; rows are random, since the cost depends on no value. Each
rank sends its rows, chooses half of the weights by woodfisher under one block per layer, updates
them and sends what it chose. Bytes are counted as they are sent, operations are those of all matrix
products. The figure is the weak scaling from 1 to 4 ranks: operations of the one rank, over those
of the busiest of four with four times the weights.

The table is a forecast: nothing in it was measured. Rates and bandwidths are assumptions, which
options change; docs/scale.md has the formulas in words.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.flop_counter import FlopCounterMode

from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.columns import panels
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.step import Method, prune
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import Axes
from wfpipe.pipeline.ranks.group import Ranks
from wfpipe.pipeline.ranks.panels import COPIES, Panels, panel_rows
from wfpipe.pipeline.ranks.traffic import Sizes, foretold, ring, rows_of
from wfpipe.pipeline.steps.sharing import Sharing, share_columns, shared_blocks

ROWS, A_RANK, LAYERS, SPARSITY = 64, 60_000, 7, 0.5
GB = 1e9


def product_operations(_: Any, left: torch.Size, right: torch.Size, **__: Any) -> int:
    """Return the operations of a product that is added to something, one matrix or many."""
    return 2 * int(left.numel()) * int(right[-1])


_IN_PLACE = {
    torch.ops.aten.addmm_: product_operations,
    torch.ops.aten.baddbmm_: product_operations,
}
"""Operations that PyTorch's own counter leaves out."""


@dataclass(frozen=True)
class Measured:
    """What one rank did in a prune step, and what the formulas say."""

    operations: int
    wanted_operations: float
    sent: int
    wanted_sent: int
    bank: int


def operations(rows: int, columns: int, gone: float = SPARSITY) -> float:
    """Return the operations of the matrix products over the columns of a rank.

    G Gᵀ of all columns, L⁻¹G for their scores, and G Gᵀ of the columns that go, each of a triangle
    in panels; and G v or Gᵀu five times: update (two), predicted loss, and their sums.

    Args:
        rows: N.
        columns: of the rank.
        gone: share of them that goes.
    """
    triangle = sum(2 * (p.stop - p.start) * p.stop for p in panels(rows, torch.device("cpu")))
    return float(columns * (triangle * (2 + min(gone, 1 - gone)) + 3 * 2 * rows))


def factor_operations(rows: int) -> float:
    """Return the operations of the factor of a K and of its inverse, ⅓N³ each, twice a step."""
    return 2 * 2 / 3 * rows**3


def one_rank(rank: int, size: int, store: str, found: SimpleQueue[Any]) -> None:
    """Take a prune step as one of ``size`` processes and report it."""
    torch.set_num_threads(1)
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    found.put((rank, measure(Ranks(rank, size))))
    if size > 1:
        dist.barrier()
        dist.destroy_process_group()


def measure(ranks: Ranks) -> Measured:
    """Make rows, send them, prune, and send what was chosen; return what was counted."""
    shape = (A_RANK * ranks.size // LAYERS // 60, 60)
    layout = Layout({f"layer{i}": torch.empty(shape) for i in range(LAYERS)})
    axes, method = dict.fromkeys(layout.sizes, Axes()), Method()
    sharing = share_columns(ranks, layout, axes, method, ROWS)
    mine = layout if sharing is None else sharing.layout
    bank = TensorBank(torch.empty(ROWS, mine.total))
    fill(bank, layout.total, ranks, sharing)
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(layout.total, generator=generator)[mine.place]
    keep = torch.ones(mine.total, dtype=torch.bool)
    with FlopCounterMode(display=False, custom_mapping=_IN_PLACE) as counter:
        outcome = prune(
            w, keep, Evidence(bank), sparsity=SPARSITY, layout=mine, axes=axes, method=method
        )
    if sharing is None:
        return Measured(
            counter.get_total_flops(), operations(ROWS, mine.total), 0, 0, 4 * ROWS * mine.total
        )
    sharing.whole(outcome.weights)
    sharing.whole(outcome.keep)
    owned = [high - low for low, high in pairwise(sharing.cuts)]
    sizes = Sizes(ROWS, owned, shared=shared_blocks(mine, "layer"))
    return Measured(
        counter.get_total_flops(),
        operations(ROWS, mine.total),
        sharing.traffic.total,
        sum(foretold(sizes, ranks.rank).values()),
        4 * ROWS * mine.total,
    )


def fill(bank: TensorBank, total: int, ranks: Ranks, sharing: Sharing | None) -> None:
    """Make this rank's rows, and send them to the owners of their columns."""
    generator = torch.Generator().manual_seed(10 + ranks.rank)
    rows = rows_of(ROWS, ranks.size, ranks.rank)
    made = (torch.randn(total, generator=generator) for _ in rows)
    if sharing is None:
        for number, row in enumerate(made):
            bank.write(number, [row])
        return
    panels_ = Panels(
        ranks, sharing.cuts, ROWS, bank, torch.float32, torch.device("cpu"), sharing.traffic
    )
    for number, row in enumerate(made):
        panels_.write(number, [row])
    panels_.finish()


def check(size: int) -> list[Measured]:
    """Return what each of ``size`` ranks measured."""
    context = mp.get_context("spawn")
    found: SimpleQueue[Any] = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder, "store"))
        running = [
            context.Process(target=one_rank, args=(rank, size, store, found))
            for rank in range(size)
        ]
        for process in running:
            process.start()
        answers = dict(found.get() for _ in running)
        for process in running:
            process.join()
    return [answers[rank] for rank in range(size)]


def report(size: int, found: list[Measured]) -> float:
    """Print what the ranks measured beside the formulas; return the most operations of one."""
    most = max(each.operations for each in found)
    wanted = max(each.wanted_operations for each in found)
    sent, told = sum(each.sent for each in found), sum(each.wanted_sent for each in found)
    d = sum(each.bank for each in found) // (4 * ROWS)
    bank = max(each.bank for each in found) * size / (4 * ROWS * d)
    print(
        f"{size} rank(s), {d:,} weights: operations of the busiest {most / 1e9:.3f}e9, formula "
        f"{wanted / 1e9:.3f}e9 ({100 * (most / wanted - 1):+.1f} %); sent by all {sent / 1e6:.2f} "
        f"MB, formula {told / 1e6:.2f} MB ({100 * (sent / max(1, told) - 1) if told else 0:+.1f} "
        f"%), {sent / (4 * ROWS * d):.2f} of rows × columns × 4; largest bank {bank:.3f} / {size}"
    )
    return float(most)


@dataclass(frozen=True)
class Case:
    """A network on some devices.

    Args:
        name: what it is.
        weights: d, all of them prunable.
        blocks: layers, each a block.
        rows: N.
        batch: samples averaged in a row.
        sample: operations of forward and backward of a sample.
        samples: of an epoch.
        ranks: devices.
        machine: devices of a machine.
    """

    name: str
    weights: float
    blocks: int
    rows: int
    batch: int
    sample: float
    samples: float
    ranks: int
    machine: int = 8


CASES = (
    Case("ResNet-50 on 8", 25.5e6, 54, 400, 16, 3 * 8.2e9, 1.28e6, 8),
    Case("ViT-L/16 on 64", 304e6, 98, 1024, 16, 3 * 123e9, 1.28e6, 64),
    Case("7e9 weights on 512", 7e9, 225, 1024, 1, 3 * 2 * 7e9 * 2048, 1e9 / 2048, 512),
)


@dataclass(frozen=True)
class Machine:
    """Assumed rates of one device: operations and bytes a second."""

    training: float
    products: float
    inside: float
    between: float


def forecast(case: Case, machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield the parts of a prune step and of an epoch, by the formulas of docs/scale.md."""
    n, ranks, d = case.rows, case.ranks, case.weights
    band = machine.inside if ranks <= case.machine else machine.between
    own, cut = d / ranks, 2 if ranks > 1 else 0
    passes = n / ranks * case.batch * case.sample / machine.training
    sent = n / ranks * (d - own) * 4
    sums = cut * 2 * ring(8 * n**2, 2)
    triangle = n**2 * (2 + SPARSITY)
    work = (own * triangle + (case.blocks / ranks + cut) * factor_operations(n)) / machine.products
    weights = (ranks - 1) * own * 5
    height = panel_rows(n, ranks, int(d), 4)
    memory = 4 * n * own + (COPIES * height + 2) * 4 * d
    steps = case.samples / ranks * case.sample / machine.training
    ddp = ring(int(4 * d), ranks)
    yield "bank of a rank", f"{4 * n * own / GB:.1f} GB of {4 * n * d / GB:,.0f} GB"
    held = f"{memory / GB:.0f} GB with rows on their way, weights and a gradient, no activations"
    yield "memory of a rank", held
    yield "forward and backward", f"{passes:.2f} s"
    yield "rows sent", f"{sent / GB:.2f} GB, {sent / band:.2f} s, beside forward and backward"
    yield "scores and update", f"{work:.2f} s, {100 * work / (work + passes):.0f} % of both"
    yield "sums, weights sent", f"{(sums + weights) / GB:.2f} GB, {(sums + weights) / band:.2f} s"
    yield "prune step", f"{max(passes, sent / band) + work + (sums + weights) / band:.1f} s"
    yield "epoch", f"{steps:,.0f} s of passes; {ddp / GB:.2f} GB, {ddp / band:.3f} s a batch"
    held = f"{20 * d / GB:.1f} GB whole, {16 * own / GB:.1f} GB and a part's weights in pieces"
    yield "fine-tuning with AdamW, no activations", held


def main() -> None:
    """Check, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", action="store_true", help="leave out the check")
    parser.add_argument("--training-rate", type=float, default=60e12, help="operations / s")
    parser.add_argument("--product-rate", type=float, default=40e12, help="float64 operations / s")
    parser.add_argument("--inside", type=float, default=200e9, help="bytes / s within a machine")
    parser.add_argument("--between", type=float, default=40e9, help="bytes / s between machines")
    given = parser.parse_args()
    most = {} if given.table else {size: report(size, check(size)) for size in (1, 2, 4)}
    machine = Machine(given.training_rate, given.product_rate, given.inside, given.between)
    print(
        f"assumed of a device: {machine.training / 1e12:.0f}e12 operations a second in forward and "
        f"backward, {machine.products / 1e12:.0f}e12 in float64 products; "
        f"{machine.inside / GB:.0f} GB/s within a machine, {machine.between / GB:.0f} GB/s between"
    )
    for case in CASES:
        print(f"{case.name}: N = {case.rows}, {case.batch} sample(s) a gradient")
        for part, value in forecast(case, machine):
            print(f"    {part}: {value}")
    if most:
        print(f"figure: {most[1] / most[4]:.3f}")


if __name__ == "__main__":
    main()
