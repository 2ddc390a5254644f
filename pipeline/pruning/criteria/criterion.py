"""What a criterion is: a local model of the loss, which scores weights and updates those kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..tensors.layout import Block

Update = Literal["none", "single", "joint"]


@dataclass(frozen=True)
class Fisher:
    """How a criterion models the Fisher.

    Args:
        damping: λ, added to the diagonal, > 0. 1e-5 is the paper's (arXiv 2004.14340, section 5).
        block: which weights count as correlated.
        relative: take ``damping`` as a share of the mean diagonal of the undamped Fisher, over the
            weights whose gradients are not all zero.
        precision: of the products with G; float64, as 1 − x with x near 1 cancels, or float32.
        taylor_damping: μ of woodtaylor's shift h = (m·F₀ + μI)⁻¹ḡ, > 0; a heuristic.
        taylor_block: the blocks of F₀ in that shift. Blocks smaller than the network all take the
            full step at once and overshoot.
        cache_bytes: most bytes of N × N matrices kept so that another damping costs no further
            pass over the bank; a heuristic.
    """

    damping: float = 1e-5
    block: Block = "layer"
    relative: bool = False
    precision: torch.dtype = torch.float64
    taylor_damping: float = 0.3
    taylor_block: Block = "network"
    cache_bytes: int = 1 << 28

    def __post_init__(self) -> None:
        for name in ("damping", "taylor_damping"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {getattr(self, name)}")
        if self.precision not in (torch.float64, torch.float32):
            raise ValueError(f"precision must be float64 or float32, got {self.precision}")
        if self.cache_bytes < 0:
            raise ValueError(f"cache_bytes must be >= 0, got {self.cache_bytes}")


class Criterion(Protocol):
    """A local quadratic model of the loss around the weights that it was built for."""

    def target(self, w: Tensor) -> Tensor:
        """Return the weights that the model would like best, ``Float64[d]``.

        They are ``w`` itself, or w − h with h = F⁻¹ḡ where the criterion keeps the gradient.
        """

    def scores(self, w: Tensor) -> Tensor:
        """Return target² / (2 diag F⁻¹), ``Float64[d]``: the loss of removing each; high = keep."""

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return [F⁻¹]_MM of each group M of weights, ``Float64[n, k, k]``.

        Args:
            groups: positions in the vector of weights, ``Int64[n, k]``, each group inside one
                layer. Entries between two blocks of the Fisher are zero.
        """

    def update(self, w: Tensor, keep: Tensor, update: Update, scale: float = 1.0) -> Tensor:
        """Return the weights, ``Float[d]``, after those outside ``keep`` went to zero.

        Args:
            w: weights, ``Float[d]``.
            keep: True where a weight stays, ``Bool[d]``.
            update: ``"none"``, ``"single"`` (the paper's sum of the updates for one weight each)
                or ``"joint"`` (the least predicted loss over all kept weights).
            scale: multiplies the change of the kept weights.
        """

    def loss(self, w: Tensor, new: Tensor) -> float:
        """Return the predicted change of the loss by going from ``w`` to ``new``, in nats."""

    def excess(self, w: Tensor, new: Tensor) -> float:
        """Return how far ``new`` is from the weights the model would like best, in nats.

        It is what the joint update minimises, and what an exchange of weights must lower.
        """

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Rate each weight given all the others, once ``w`` was jointly updated to ``new``.

        Args:
            w: weights before the update, ``Float[d]``.
            new: the joint update for ``keep``, ``Float[d]``.
            keep: ``Bool[d]``.

        Returns:
            ``Float64[d]``: of a kept weight, what its removal costs; of a pruned one, what is
            saved by putting it back; each after the best change of the other kept weights.
        """
