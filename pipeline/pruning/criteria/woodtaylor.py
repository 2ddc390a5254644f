"""The WoodTaylor criterion (Singh & Alistarh 2020, arXiv 2004.14340, appendix on WoodTaylor).

It keeps the first-order term that vanishes at a minimum: the model is ḡᵀδ + ½ δᵀFδ, whose least
value lies at w − h. Everything of woodfisher then happens around those shifted weights.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..curvature.fisher import dot
from ..gradients.evidence import Evidence
from ..tensors.layout import Layout
from ..tensors.reduction import WHOLE, Reduction, total
from .criterion import Fisher, Update
from .quadratic import Quadratic
from .woodfisher import woodfisher


class WoodTaylor:
    """A quadratic model around weights that are better than the present ones.

    Args:
        model: the quadratic model without the first-order term.
        shift: h, from the present weights to the better ones, with the sign turned, ``Float64[d]``.
        gradient: ḡ, the mean gradient at the present weights, ``Float[d]``.
        sums: adds up over those who hold other weights.
    """

    def __init__(
        self, model: Quadratic, shift: Tensor, gradient: Tensor, sums: Reduction = WHOLE
    ) -> None:
        self._model, self._shift, self._gradient, self._sums = model, shift, gradient, sums

    def target(self, w: Tensor) -> Tensor:
        """Return w − h, ``Float64[d]``."""
        return w - self._shift

    def scores(self, w: Tensor) -> Tensor:
        """Return (w − h)² / (2 diag F⁻¹), ``Float64[d]``."""
        return self._model.scores(self.target(w))

    def group_inverse(self, groups: Tensor) -> Tensor:
        """Return [F⁻¹]_MM of each group M of positions, ``Float64[n, k, k]``."""
        return self._model.group_inverse(groups)

    def update(self, w: Tensor, keep: Tensor, update: Update, scale: float = 1.0) -> Tensor:
        """Return the weights, ``Float[d]``, after those outside ``keep`` went to zero.

        ``"joint"`` minimises (w′ − (w−h))ᵀF(w′ − (w−h)); ``"single"`` sums −h and the updates for
        one weight each, −((w_q − h_q) / [F⁻¹]_qq) F⁻¹e_q; ``"none"`` leaves kept weights alone.
        ``scale`` multiplies the change of the kept weights.
        """
        return self._model.move(w, self.target(w), keep, update, scale)

    def loss(self, w: Tensor, new: Tensor) -> float:
        """Return ḡᵀδ + m · ½ δᵀFδ with δ = new − w: the predicted change of the loss, in nats."""
        first_order = total(self._sums, [float(dot(self._gradient, new - w))], w)[0]
        return first_order + self._model.loss(w, new)

    def excess(self, w: Tensor, new: Tensor) -> float:
        """Return m · ½ (new − target)ᵀF(new − target), in nats: what the joint update minimises."""
        return self._model.loss(self.target(w), new)

    def exchange_scores(self, w: Tensor, new: Tensor, keep: Tensor) -> Tensor:
        """Rate each weight given all the others, as :meth:`Quadratic.exchange_scores` does."""
        return self._model.exchange(self.target(w), new, keep)


def woodtaylor(evidence: Evidence, layout: Layout, fisher: Fisher) -> WoodTaylor:
    """Return woodfisher's model with the first-order term.

    The rows of the bank are means over m samples: near a minimum their second moment F₀ is 1/m of
    the curvature. The shift is therefore h = (m·F₀ + μI)⁻¹ ḡ, with a damping μ and blocks of its
    own: a step along the gradient must be short (μ large) where a score wants λ small.

    Args:
        evidence: its bank, gradient and batch are read.
        layout: the layers of the d weights.
        fisher: ``taylor_damping`` is μ and ``taylor_block`` the blocks of F₀ in the shift; the
            rest is woodfisher's.

    Raises:
        ValueError: when there is no bank or gradient, or they do not fit the layout.
        FactorisationError: when F₀ cannot be factored.
    """
    if evidence.gradient is None:
        raise ValueError("woodtaylor needs the mean gradient")
    if evidence.gradient.shape != (layout.total,):
        raise ValueError(
            f"the mean gradient must have {layout.total} entries, "
            f"got shape {tuple(evidence.gradient.shape)}"
        )
    samples = evidence.batch
    step = replace(
        fisher, damping=fisher.taylor_damping / samples, block=fisher.taylor_block, relative=False
    )
    shift = woodfisher(evidence, layout, step).solve(evidence.gradient).div_(samples)
    model = woodfisher(evidence, layout, fisher)
    return WoodTaylor(model, shift, evidence.gradient, layout.sums)
