"""The magnitude criterion: small weights go first (Han et al. 2015, arXiv 1506.02626)."""

from __future__ import annotations

import torch

from ..gradients.evidence import Evidence
from ..tensors.layout import Layout
from .criterion import Fisher
from .diag_fisher import diagonal_model
from .quadratic import Quadratic


def magnitude(evidence: Evidence, layout: Layout, fisher: Fisher) -> Quadratic:
    """Return the model with F = I: scores ½w², and no weight that stays is changed.

    Its losses are in no unit of the network's loss; ``fisher`` is not read.
    """
    ones = torch.ones(layout.total, dtype=torch.float64, device=layout.device)
    return diagonal_model(ones, sums=layout.sums)
