"""Diagonal and update of the inverse Fisher against the paper's rank-one recursion.

    python benchmarks/fisher_inverse.py          one block: N = 400 gradients of B = 2,000 weights
    python benchmarks/fisher_inverse.py small    many: N = 1,024 gradients of blocks of B = 50

Both sides give diag(F⁻¹) and the update of the kept weights for half of the weights removed, in
one process and in turn; the best time of each counts. The recursion (Singh & Alistarh 2020, arXiv
2004.14340, equation 5) is written with torch as the paper states it, in float32, and updates all
blocks at once. The figure is its time over ours in float64, the default; what the recursion gains
by hand-tuning, and by float64, is printed beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from wfpipe.pipeline.pruning.criteria.criterion import Fisher
from wfpipe.pipeline.pruning.criteria.woodfisher import woodfisher
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.evidence import Evidence
from wfpipe.pipeline.pruning.tensors.layout import Layout

DAMPING = 1e-5
REPETITIONS = 5
RECURSION, OURS = "recursion, float32", "ours, float64"


@dataclass(frozen=True)
class Problem:
    """Gradients ``Float[N, count, B]``, weights and mask ``(count, B)`` of some blocks."""

    G: Tensor
    w: Tensor
    keep: Tensor


def recursion(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return diag(F⁻¹) and the summed update, F⁻¹ by rank-one updates as the paper has them."""
    N, count, B = problem.G.shape
    inverse = (torch.eye(B, dtype=dtype) / DAMPING).repeat(count, 1, 1)
    for g in problem.G.to(dtype):
        v = (inverse @ g[:, :, None])[:, :, 0]
        inverse -= v[:, :, None] * v[:, None, :] / (N + (g * v).sum(-1))[:, None, None]
    return _diagonal_and_update(inverse, problem)


def fused_recursion(problem: Problem, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Do as :func:`recursion` without a temporary matrix: the fastest of several forms tried."""
    N, count, B = problem.G.shape
    inverse = (torch.eye(B, dtype=dtype) / DAMPING).repeat(count, 1, 1)
    for g in problem.G.to(dtype):
        if count == 1:
            v = inverse[0] @ g[0]
            inverse[0].addmm_((v / (N + g[0] @ v))[:, None], v[None], alpha=-1)
        else:
            v = (inverse * g[:, None, :]).sum(-1)
            scaled = v / (N + (g * v).sum(-1, keepdim=True))
            inverse.addcmul_(scaled[:, :, None], v[:, None, :], value=-1)
    return _diagonal_and_update(inverse, problem)


def _diagonal_and_update(inverse: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
    diagonal = inverse.diagonal(dim1=-2, dim2=-1)
    removed = (problem.w / diagonal).masked_fill(problem.keep, 0.0)
    return diagonal, problem.w - (inverse @ removed[:, :, None])[:, :, 0]


def ours(problem: Problem, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return diag(F⁻¹) and the joint update, as a prune step gets them."""
    N, count, B = problem.G.shape
    w, keep = problem.w.view(-1), problem.keep.view(-1)
    evidence = Evidence(TensorBank(problem.G.view(N, -1)))
    settings = Fisher(DAMPING, B, precision=precision)
    model = woodfisher(evidence, Layout({"weights": w}), settings)
    return model.diag().view(count, B), model.update(w, keep, "joint").view(count, B)


def dense_diagonal(G: Tensor) -> Tensor:
    """Return diag(F⁻¹) of the first block of ``G`` (N, count, B) by a float64 inverse."""
    g = G[:, 0].double()
    F = g.T @ g / len(g) + DAMPING * torch.eye(g.shape[1], dtype=torch.float64)
    inverse: Tensor = torch.linalg.inv(F)
    return inverse.diagonal()


def best_times(sides: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the best time of each side in seconds, all sides run in turn."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(REPETITIONS):
        for name, run in sides.items():
            begin = perf_counter()
            run()
            best[name] = min(best[name], perf_counter() - begin)
    return best


def compare(count: int, N: int, B: int) -> float:
    """Print times and errors of both sides and return the ratio of the times."""
    generator = torch.Generator().manual_seed(0)
    problem = Problem(
        torch.randn(N, count, B, generator=generator),
        torch.randn(count, B, generator=generator),
        torch.rand(count, B, generator=generator) < 0.5,
    )
    sides: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
        RECURSION: lambda: recursion(problem, torch.float32),
        "recursion without temporaries, float32": lambda: fused_recursion(problem, torch.float32),
        "recursion without temporaries, float64": lambda: fused_recursion(problem, torch.float64),
        OURS: lambda: ours(problem, torch.float64),
        "ours, float32": lambda: ours(problem, torch.float32),
    }
    exact, times = dense_diagonal(problem.G), best_times(dict(sides))
    print(f"N = {N}, B = {B}, {count} blocks, {torch.get_num_threads()} threads")
    for name, run in sides.items():
        error = float(((run()[0][0] - exact) / exact).abs().max())
        print(
            f"  {name}: {1e3 * times[name]:.1f} ms, {times[name] / times[OURS]:.2f} × ours in "
            f"float64, largest relative error of the diagonal {error:.1e}"
        )
    return times[RECURSION] / times[OURS]


def main() -> None:
    """Compare both sizes, and print the figure of the one that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("size", nargs="?", choices=("large", "small"), default="large")
    size = parser.parse_args().size
    ratios = {"small": compare(512, 1024, 50), "large": compare(1, 400, 2000)}
    print(f"figure: {ratios[size]:.1f}")


if __name__ == "__main__":
    main()
