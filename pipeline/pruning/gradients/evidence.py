"""What a criterion is built from: measurements of the loss around the present weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

if TYPE_CHECKING:
    from .bank import Bank

Need = Literal["nothing", "bank", "bank+gradient", "factors"]
"""What of :class:`Evidence` a criterion reads."""


@dataclass(frozen=True)
class KroneckerFactors:
    """The two factors of the Fisher of one layer's weights, F ≈ S ⊗ A, for each channel group.

    Args:
        A: second moment of what enters the layer, ``Float64[groups, a, a]``, where a is the number
            of weights of one output: input channels of a group × kernel positions, in the order of
            the weight.
        S: second moment of the gradient of the loss of one sample with respect to what leaves the
            layer, ``Float64[groups, s, s]``, where s is the number of outputs of a group.
    """

    A: Tensor
    S: Tensor


@dataclass(frozen=True)
class Evidence:
    """Measurements of the loss around the present weights; each criterion needs some of them.

    Args:
        bank: gradients of d weights, one per row; zero columns where weights are pruned.
        gradient: ḡ, the mean gradient of the true loss, ``Float[d]``.
        factors: Kronecker factors by the name of the weight tensor.
        batch: m, samples whose loss is averaged in one row of the bank.
        seed: fixes the order in which ``random`` prunes.
        derived: filled by the criteria: second moments and factors that do not depend on a damping
            or a mask, so that another criterion on the same evidence costs little.
    """

    bank: Bank | None = None
    gradient: Tensor | None = None
    factors: Mapping[str, KroneckerFactors] | None = None
    batch: int = 1
    seed: int = 0
    derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
