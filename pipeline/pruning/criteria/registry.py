"""The criteria by the names that the recipe gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..gradients.evidence import Evidence, Need
from ..tensors.layout import Layout
from .criterion import Criterion, Fisher
from .diag_fisher import diag_fisher
from .kfac import kfac
from .magnitude import magnitude
from .mfac import mfac
from .random_scores import random_scores
from .woodfisher import woodfisher
from .woodtaylor import woodtaylor


@dataclass(frozen=True)
class Kind:
    """A criterion: what it must be given, and how it is built from it."""

    need: Need
    build: Callable[[Evidence, Layout, Fisher], Criterion]


CRITERIA: dict[str, Kind] = {
    "magnitude": Kind("nothing", magnitude),
    "random": Kind("nothing", random_scores),
    "diag-fisher": Kind("bank", diag_fisher),
    "kfac": Kind("factors", kfac),
    "woodfisher": Kind("bank", woodfisher),
    "woodtaylor": Kind("bank+gradient", woodtaylor),
    "mfac": Kind("bank", mfac),
}
