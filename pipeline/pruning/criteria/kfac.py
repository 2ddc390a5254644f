"""The criterion kfac: the Fisher of a layer as a Kronecker product (curvature/kronecker.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from ..curvature.factorise import ALL_ZERO, NOT_FINITE, FactorisationError
from ..curvature.kronecker import KroneckerInverse, eigen
from ..gradients.evidence import Evidence, KroneckerFactors
from ..tensors.layout import Layout, Run
from .criterion import Fisher
from .quadratic import Quadratic


def kfac(evidence: Evidence, layout: Layout, fisher: Fisher) -> Quadratic:
    """Return the quadratic model with a Kronecker product for each layer.

    The factors know nothing of masks: a pruned weight counts as free in the scores of the others,
    but not in the joint update.

    Args:
        evidence: its factors are read, by the names of the layout.
        layout: the layers.
        fisher: the damping; the block is always the layer.

    Raises:
        ValueError: when factors are missing or do not fit the layout.
        FactorisationError: when the factors are not finite, or all zero.
    """
    if evidence.factors is None:
        raise ValueError("kfac needs the Kronecker factors of each layer")
    factors = evidence.factors
    for name, size in layout.sizes.items():
        _check_fit(name, size, factors)
    mean = _mean_diagonal([factors[name] for name in layout.sizes])
    damping = fisher.damping * (mean if fisher.relative else 1.0)
    runs = {_run(layout, name, factors[name]): name for name in layout.sizes}

    def build(run: Run) -> KroneckerInverse:
        key = ("eigen", runs[run])
        if key not in evidence.derived:
            evidence.derived[key] = eigen(factors[runs[run]])
        return KroneckerInverse(evidence.derived[key], damping)

    return Quadratic(list(runs), build)


def _run(layout: Layout, name: str, factors: KroneckerFactors) -> Run:
    groups = len(factors.A)
    return Run(layout.places[name].start, groups, layout.sizes[name] // groups)


def _check_fit(name: str, size: int, factors: Mapping[str, KroneckerFactors]) -> None:
    if name not in factors:
        raise ValueError(f"kfac needs the Kronecker factors of {name!r}; got {list(factors)}")
    groups, a = factors[name].A.shape[:2]
    given = groups * a * factors[name].S.shape[1]
    if given != size:
        raise ValueError(f"the factors of {name!r} are for {given} weights, the layer has {size}")


def _mean_diagonal(factors: list[KroneckerFactors]) -> float:
    """Return the mean of the entries of the diagonals of S ⊗ A that are not zero."""
    total, count = 0.0, 0
    for layer in factors:
        A, S = (m.diagonal(dim1=-2, dim2=-1).to(torch.float64) for m in (layer.A, layer.S))
        total += float((A.sum(-1) * S.sum(-1)).sum())
        count += int((A.count_nonzero(dim=-1) * S.count_nonzero(dim=-1)).sum())
    if not math.isfinite(total):
        raise FactorisationError(NOT_FINITE)
    if count == 0:
        raise FactorisationError(ALL_ZERO)
    return total / count
