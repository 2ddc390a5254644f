"""Second moments of the blocks of a gradient bank, kept so that another damping is cheap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..gradients.bank import Bank
from ..gradients.columns import BlockGradients
from ..tensors.layout import Layout, Run
from ..tensors.reduction import WHOLE, Reduction, total
from .factorise import ALL_ZERO, FactorisationError
from .fisher import InverseFisher, inverse_of

_KEPT_SHARE = 4
"""A second moment is kept where it takes at most this part of the bytes of its gradients."""


class Moments:
    """The gradients of each block, with what is known of them.

    Args:
        bank: the gradients.
        layout: the layers; the Fisher of the network adds up what is known of them.
        precision: of products of gradients.
        cache_bytes: most bytes of second moments that are kept.
    """

    def __init__(
        self, bank: Bank, layout: Layout, precision: torch.dtype, cache_bytes: int
    ) -> None:
        self.bank, self._layout, self._precision = bank, layout, precision
        self._room = cache_bytes
        self._gradients: dict[Run, BlockGradients] = {}
        self._mean_diagonal: float | None = None

    def mean_diagonal(self) -> float:
        """Return the mean diagonal of the undamped Fisher, over the weights where it is not zero.

        Raises:
            FactorisationError: when it is zero everywhere.
        """
        if self._mean_diagonal is None:
            squares = mean_squares(self.bank)
            self._mean_diagonal = mean_of_nonzero(squares, self._layout.sums)
        return self._mean_diagonal

    def of(self, run: Run) -> BlockGradients:
        """Return the gradients of some blocks, the same object each time."""
        if run not in self._gradients:
            needed = moment_bytes(self.bank.rows, run)
            keep = worth_keeping(self.bank.rows, run) and needed <= self._room
            self._room -= needed if keep else 0
            layers = self._layout.blocks("layer")
            keep = keep or bool(run.shared)  # all its holders must know the same
            whole = run in self._layout.blocks("network") and len(layers) > 1
            self._gradients[run] = BlockGradients(
                self.bank,
                run,
                self._precision,
                keep=keep,
                pieces=[self.of(layer) for layer in layers] if whole else (),
                sums=self._layout.sums.among(run.shared) if run.shared else WHOLE,
            )
        return self._gradients[run]

    def share(self, runs: Sequence[Run]) -> None:
        """Add up G Gᵀ of the blocks that others hold columns of, in an order that all have."""
        for run in runs:
            if run.shared:
                self.of(run).gram()

    def inverse(self, run: Run, damping: float) -> InverseFisher:
        """Return F⁻¹ of some blocks.

        Raises:
            ValueError: when the damping is not positive.
        """
        return inverse_of(self.of(run), damping)

    def refuse_zeros(self) -> None:
        """Raise when every gradient that was read, in all parts of the vector, is zero.

        Raises:
            FactorisationError: saying what may have caused it.
        """
        alive = any(not gradients.all_zero for gradients in self._gradients.values())
        sums, like = self._layout.sums, next(iter(self._gradients.values())).live()
        if not total(sums, [alive], like)[0]:
            raise FactorisationError(ALL_ZERO)


def mean_squares(bank: Bank) -> Tensor:
    """Return the diagonal of the undamped Fisher, (1/N) Σ g_i², ``Float64[d]``."""
    result = torch.zeros(bank.total, dtype=torch.float64, device=bank.device)
    for raw, place in BlockGradients(bank, Run(0, 1, bank.total)).parts():
        result[place] = raw.to(torch.float64).square_().sum(0)
    return result.div_(bank.rows)


def mean_of_nonzero(diagonal: Tensor, sums: Reduction = WHOLE) -> float:
    """Return the mean of the entries of ``diagonal`` (d,) that are not zero.

    Args:
        diagonal: the entries.
        sums: adds up over those who hold other entries.

    Raises:
        FactorisationError: when all are zero.
    """
    here = [float(diagonal.sum()), int(torch.count_nonzero(diagonal))]
    whole, count = total(sums, here, diagonal)
    if count == 0:
        raise FactorisationError(ALL_ZERO)
    return whole / count


def moment_bytes(rows: int, run: Run) -> int:
    """Return the bytes of the smaller second moment of each block of a run."""
    return 8 * run.count * min(rows, run.size) ** 2


def worth_keeping(rows: int, run: Run) -> bool:
    """Tell whether second moments are small beside the gradients they come from."""
    return _KEPT_SHARE * moment_bytes(rows, run) <= 4 * rows * run.count * run.size
