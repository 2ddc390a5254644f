"""Time and memory of a prune step as the number of weights grows, at a fixed number of gradients.

    python benchmarks/fisher_growth.py

N = 128 gradients of 10⁵ to 2·10⁷ weights in ten layers, random: the cost depends on no value. The
whole of the mathematics: scores under one block per layer, one threshold for half of the weights,
the joint update, the predicted loss. Each size has a process of its own, so that its peak of memory
is its own; the memory announced is that of the plan. The figure is the largest deviation of the
time per weight from its mean over the sizes (the geometric one) in percent.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from time import perf_counter

import torch

from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.memory.plan import Room, plan_memory
from wfpipe.pipeline.pruning.memory.workspace import Demand
from wfpipe.pipeline.pruning.step import Method, prune
from wfpipe.pipeline.pruning.tensors.layout import Layout

ROWS, LAYERS, SPARSITY = 128, 10, 0.5
REPETITIONS = {100_000: 7, 1_000_000: 5, 5_000_000: 3, 20_000_000: 2}
MIB = 1 << 20


@dataclass(frozen=True)
class Measured:
    """The best time of a step in seconds, and bytes of memory announced and taken."""

    seconds: float
    announced: int
    taken: int


def resident() -> int:
    """Return the bytes of main memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Return the most bytes of main memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def layout_of(total: int) -> Layout:
    """Return ten layers of one size with ``total`` weights."""
    return Layout({f"layer{i}": torch.empty(total // LAYERS, device="meta") for i in range(LAYERS)})


def step(total: int) -> float:
    """Fill a bank, take a prune step and return its seconds."""
    layout, generator = layout_of(total), torch.Generator().manual_seed(0)
    G = torch.empty(ROWS, total)
    for row in G:
        row.normal_(generator=generator)
    w = torch.empty(total).normal_(generator=generator)
    keep = torch.ones(total, dtype=torch.bool)
    begin = perf_counter()
    with TensorBank(G) as bank:
        outcome = prune(
            w, keep, Evidence(bank), sparsity=SPARSITY, layout=layout, axes={}, method=Method()
        )
    assert int(outcome.keep.sum()) == total // 2
    return perf_counter() - begin


def measure(total: int) -> Measured:
    """Take the steps of one size in this process, after a small one that loads what is needed."""
    step(20_000)
    gc.collect()
    before = resident()
    seconds = min(step(total) for _ in range(REPETITIONS[total]))
    plan = plan_memory(Demand(ROWS, layout_of(total)), Room(1 << 60))
    return Measured(seconds, plan.total, peak() - before)


def in_new_process(total: int) -> Measured:
    """Measure one size in a process of its own."""
    command = [sys.executable, __file__, "--size", str(total)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return Measured(float(answer[0]), int(answer[1]), int(answer[2]))


def report(sizes: dict[int, Measured]) -> float:
    """Print the table; return the deviation of the time from proportional growth in percent."""
    rates = {total: found.seconds / total for total, found in sizes.items()}
    mean = math.exp(sum(map(math.log, rates.values())) / len(rates))
    print(f"N = {ROWS}, {torch.get_num_threads()} threads")
    print(f"{'weights':>12}{'seconds':>10}{'ns/weight':>11}{'announced':>13}{'taken':>13}")
    for total, found in sizes.items():
        print(
            f"{total:>12,}{found.seconds:>10.3f}{1e9 * rates[total]:>11.1f}"
            f"{found.announced / MIB:>9,.0f} MiB{found.taken / MIB:>9,.0f} MiB"
        )
    off = {total: 100 * (found.taken / found.announced - 1) for total, found in sizes.items()}
    print(
        "memory taken against announced: " + ", ".join(f"{value:+.1f} %" for value in off.values())
    )
    print(f"largest deviation of the memory: {max(map(abs, off.values())):.1f} %")
    return 100 * max(abs(rate / mean - 1) for rate in rates.values())


def main() -> None:
    """Measure every size, or the one that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, choices=REPETITIONS, help=argparse.SUPPRESS)
    size = parser.parse_args().size
    if size is not None:
        found = measure(size)
        print(found.seconds, found.announced, found.taken)
        return
    print(f"figure: {report({total: in_new_process(total) for total in REPETITIONS}):.1f}")


if __name__ == "__main__":
    main()
