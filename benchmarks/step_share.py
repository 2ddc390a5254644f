"""What a prune step costs besides its forward and backward passes.

    python benchmarks/step_share.py

ResNet-20, the 267,264 weights of its block convolutions, N = 400 gradients of mini-batches of 16
random images: the cost depends on no value. A first step prunes 0 → 50 %, a later one 80 → 90 %,
with one block per layer, one global threshold and the joint update. Everything but forward and
backward: factorisation and scores, choice of the mask, update. The figure is its share of the
first step in percent, with the default precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.models.resnet_cifar import CifarResNet
from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.woodfisher import woodfisher
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout

ROWS, BATCH, REPETITIONS = 400, 16, 3


@dataclass
class Seconds:
    """Time of the parts of a prune step."""

    scores: float
    selection: float
    update: float

    @property
    def total(self) -> float:
        """Everything but forward and backward."""
        return self.scores + self.selection + self.update


def gradients(module: nn.Module, weights: dict[str, nn.Parameter]) -> tuple[Tensor, float]:
    """Return the bank of the dense network, ``Float[N, d]``, and the seconds of its passes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(ROWS, BATCH, 3, 32, 32, generator=generator)
    labels = torch.randint(10, (ROWS, BATCH), generator=generator)
    G = torch.empty(ROWS, sum(weight.numel() for weight in weights.values()))
    begin = perf_counter()
    for row, x, y in zip(G, images, labels, strict=True):
        parts = torch.autograd.grad(F.cross_entropy(module(x), y), list(weights.values()))
        torch.cat([part.reshape(-1) for part in parts], out=row)
    return G, perf_counter() - begin


def prune(
    G: Tensor, w: Tensor, keep: Tensor, sparsity: float, layout: Layout, precision: torch.dtype
) -> tuple[Seconds, Tensor]:
    """Prune to ``sparsity``; return the time of each part and the mask."""
    marks = [perf_counter()]
    model = woodfisher(Evidence(TensorBank(G), batch=BATCH), layout, Fisher(precision=precision))
    scores = model.scores(w)
    marks.append(perf_counter())
    order = scores.masked_fill_(~keep, -torch.inf).argsort(stable=True)
    mask = torch.ones_like(keep).index_fill_(0, order[: round(sparsity * len(w))], False)
    marks.append(perf_counter())
    model.update(w, mask, "joint")
    marks.append(perf_counter())
    return Seconds(*(b - a for a, b in pairwise(marks))), mask


def best(runs: list[Seconds]) -> Seconds:
    """Return the run that took the least time."""
    return min(runs, key=lambda run: run.total)


def main() -> None:
    """Measure both steps in both precisions and print the shares."""
    torch.manual_seed(0)
    module = CifarResNet(3, 3, 10).eval()
    named = dict(module.named_parameters())
    weights = {n: p for n, p in named.items() if n.startswith("layer") and ".conv" in n}
    layout = Layout(weights)
    w, everything = layout.flatten(weights), torch.ones(layout.total, dtype=torch.bool)
    passes = [gradients(module, weights) for _ in range(REPETITIONS)]
    G, backward = passes[0][0], min(seconds for _, seconds in passes)
    print(f"{layout.total} weights, N = {ROWS}, {torch.get_num_threads()} threads")
    print(f"forward and backward: {backward:.2f} s")
    sparse = prune(G, w, everything, 0.8, layout, torch.float64)[1]
    banks = {"0 -> 50 %": (G, everything, 0.5), "80 -> 90 %": (G * sparse, sparse, 0.9)}
    shares = {}
    for precision in (torch.float64, torch.float32):
        for step, (bank, keep, target) in banks.items():
            runs = [prune(bank, w * keep, keep, target, layout, precision)[0] for _ in range(5)]
            took = best(runs)
            share = shares[precision, step] = 100 * took.total / (took.total + backward)
            print(
                f"{step}, {precision}: scores {took.scores:.2f} s, selection "
                f"{took.selection:.2f} s, update {took.update:.2f} s: {share:.1f} % of the step"
            )
    print(f"figure: {shares[torch.float64, '0 -> 50 %']:.1f}")


if __name__ == "__main__":
    main()
