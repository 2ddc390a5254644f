"""The normal equations of a layer's outputs: A = Σ x xᵀ and b = Σ x yᵀ, summed over samples."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tensors.reduction import WHOLE, Reduction

_ROWS = 4096
"""Samples whose products are summed in the inputs' own precision before they are added in float64:
few enough that float32 keeps six figures (a heuristic)."""

_COLUMNS = 256
"""Columns of A that are computed together; what lies below the diagonal is mirrored."""


@dataclass(frozen=True)
class Fit:
    """What the rows of a layer are fitted from.

    Args:
        A: second moments of the inputs, ``Float64[groups, k, k]``.
        b: of inputs and outputs, ``Float64[groups, k, o]``.
    """

    A: Tensor
    b: Tensor


class Equations:
    """Sums over samples of what enters a layer and what should leave it.

    They are taken about the means of the first samples: where inputs differ little from their
    means, the products of float32 numbers would lose what tells them apart. A grouped convolution
    has ``groups`` sets of inputs, each with outputs of its own.

    Args:
        groups: number of groups.
        inputs: k, inputs of each output.
        outputs: o, outputs of each group.
        device: where the sums are.
    """

    def __init__(self, groups: int, inputs: int, outputs: int, device: torch.device) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(groups, *shape, dtype=torch.float64, device=device)

        self._xx, self._xy = zeros(inputs, inputs), zeros(inputs, outputs)
        self._x, self._y = zeros(inputs), zeros(outputs)
        self._x_origin, self._y_origin = zeros(inputs), zeros(outputs)
        self._begun, self.count = False, 0

    def begin(self, first: tuple[Tensor, Tensor] | None, sums: Reduction = WHOLE) -> None:
        """Take the means of the first samples, which the sums are about.

        Args:
            first: inputs and outputs, as :meth:`add` takes them; None in parts that have others.
            sums: the parts among which samples are shared out.
        """
        for place, origin in enumerate((self._x_origin, self._y_origin)):
            if first is not None:
                origin.copy_(first[place][:, :_ROWS].mean(1))
            origin.copy_(sums.sum(origin))
        self._begun = True

    def add(self, X: Tensor, Y: Tensor) -> None:
        """Add samples.

        Args:
            X: inputs, ``Float[groups, n, k]``; products of float32 are summed in float32 over a few
                thousand samples at a time, and these sums in float64.
            Y: outputs wanted, ``Float[groups, n, o]``.
        """
        for start in range(0, X.shape[1], _ROWS):
            self._add(X[:, start : start + _ROWS], Y[:, start : start + _ROWS])

    def _add(self, x: Tensor, y: Tensor) -> None:
        if not self._begun:
            self.begin((x, y))
        # side by side in memory: a product of many small matrices is several times as fast
        x = (x - self._x_origin.to(x.dtype)[:, None, :]).contiguous()
        y = (y - self._y_origin.to(y.dtype)[:, None, :]).contiguous()
        left = x.mT
        for start in range(0, x.shape[2], _COLUMNS):
            part = left[:, start : start + _COLUMNS] @ x[:, :, start:]
            self._xx[:, start : start + _COLUMNS, start:] += part
        self._xy += left @ y
        self._x += x.sum(1)
        self._y += y.sum(1)
        self.count += x.shape[1]

    def copied(self) -> Equations:
        """Return the sums as they are now."""
        found = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(found, name, value.clone())
        return found

    def summed(self, sums: Reduction) -> Equations:
        """Return the sums over the samples of all parts, which began together."""
        found = copy(self)
        for name in ("_xx", "_xy", "_x", "_y"):
            setattr(found, name, sums.sum(getattr(self, name)))
        found.count = sum(sums.gather(self.count))
        return found

    def since(self, earlier: Equations) -> Equations:
        """Return the sums over what was added after a copy of these, which had some, was made."""
        found = copy(self)
        for name in ("_xx", "_xy", "_x", "_y", "count"):
            setattr(found, name, getattr(self, name) - getattr(earlier, name))
        return found

    def of(self, rows: Tensor) -> Equations:
        """Return the sums for some of the outputs alone, ``Int64[r]``."""
        found = copy(self)
        found._xy = self._xy[:, :, rows]
        found._y, found._y_origin = self._y[:, rows], self._y_origin[:, rows]
        return found

    def fit(self) -> Fit:
        """Return A and b of outputs without a constant: y ≈ w·x."""
        x, y, n = self._x_origin, self._y_origin, self.count
        A = self._symmetric() + _outer(x, self._x) + _outer(self._x, x) + n * _outer(x, x)
        b = self._xy + _outer(x, self._y) + _outer(self._x, y) + n * _outer(x, y)
        return Fit(A, b)

    def fit_with_constant(self) -> Fit:
        """Return A and b about the means, where the best constant is already taken: y ≈ w·x + c."""
        x = self._x / max(1, self.count)
        return Fit(self._symmetric() - _outer(x, self._x), self._xy - _outer(x, self._y))

    def constant(self, w: Tensor) -> Tensor:
        """Return the constant of each output that goes best with its weights.

        Args:
            w: ``Float[groups, o, k]``.

        Returns:
            c = mean(y) − w·mean(x), ``Float64[groups, o]``.
        """
        x = self._x_origin + self._x / max(1, self.count)
        y = self._y_origin + self._y / max(1, self.count)
        return y - (w.to(torch.float64) @ x[:, :, None])[:, :, 0]

    def error(self, w: Tensor, constant: Tensor) -> Tensor:
        """Return Σ (y − w·x − c)² of each output, less what is the same for all weights.

        Args:
            w: ``Float64[groups, o, k]``.
            constant: c, ``Float64[groups, o]``.

        Returns:
            ``Float64[groups, o]``.
        """
        c = constant + (w @ self._x_origin[:, :, None])[:, :, 0] - self._y_origin
        by_w = ((w @ self._symmetric()) * w).sum(2) - 2 * (w * self._xy.mT).sum(2)
        by_c = 2 * ((w @ self._x[:, :, None])[:, :, 0] - self._y) + self.count * c
        return by_w + c * by_c

    def _symmetric(self) -> Tensor:
        upper = self._xx.triu()
        return upper + upper.triu(1).mT


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return left rightᵀ of each group."""
    return left[:, :, None] * right[:, None, :]
