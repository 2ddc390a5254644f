"""The loss of each channel group: ½ mean_i (g_i,M · w_M)², without making up for it.

The quadratic model of the whole network says that almost any group could be made up for by the
others, as N gradients leave a null space where N is far below the number of weights: that holds of
the model and not of the network. What a group's own weights give is no such promise; what can be
made up for is left to the refit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..tensors.groups import Groups


class GroupRows:
    """Takes rows of gradients and keeps of each what the losses of groups need.

    Args:
        weights: parameters by name, in the order of a row.
        groups: the channel groups.
        rows: N, the number of rows.
        kind: how losses are made of them; see :meth:`losses`.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], groups: Groups, rows: int, kind: str = "woodfisher"
    ) -> None:
        self._weights = {name: w.detach() for name, w in weights.items()}
        self._groups, self._kind = groups, kind
        self.sums = torch.zeros(rows, groups.count, dtype=torch.float64)

    def write(self, row: int, values: Sequence[Tensor]) -> None:
        """Take a row as the gradients of the parameters, in their order."""
        products = {
            name: w * gradient
            for (name, w), gradient in zip(self._weights.items(), values, strict=True)
        }
        if self._kind == "diag-fisher":
            products = {name: product.square() for name, product in products.items()}
        self.sums[row] = self._groups.sums({n: product.cpu() for n, product in products.items()})

    def losses(self) -> Tensor:
        """Return the loss of each group, ``Float64[m]``, in nats.

        With s_i = g_i,M · w_M: woodfisher ½ mean_i s_i²; woodtaylor, which keeps the gradient,
        ½ mean_i s_i² − mean_i s_i; diag-fisher ½ mean_i Σ_q (g_i,q w_q)².
        """
        if self._kind == "diag-fisher":
            return 0.5 * self.sums.mean(0)
        loss = 0.5 * self.sums.square().mean(0)
        return loss - self.sums.mean(0) if self._kind == "woodtaylor" else loss


def squares(weights: Mapping[str, Tensor], groups: Groups) -> Tensor:
    """Return ‖w_M‖² of each group, ``Float64[m]``."""
    return groups.sums({name: w.detach().square() for name, w in weights.items()})
