"""Numbers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ...exporters.documents.score import Score
from ...exporters.measuring.accuracy import Meter
from ...support.errors import InputError
from ...support.nests import Nest
from .task import MainMeter, Task, as_rows, check_pairs


class Regression(Task):
    """Outputs (n, …) and targets of as many numbers; the loss is the mean of squared errors."""

    kind: ClassVar[str] = "regression"
    metrics: ClassVar[tuple[str, ...]] = ("mean_absolute_error", "r2")

    def _loss(self, outputs: Tensor, targets: Nest, smoothing: float) -> Tensor:
        return F.mse_loss(outputs, targets.to(outputs.dtype).view(outputs.shape))

    def draw(self, outputs: Nest, generator: torch.Generator) -> Tensor:
        """Draw from the normal distribution whose negative log likelihood the loss is.

        With K numbers a sample, Σ e² / K = Σ e² / 2σ² for σ² = K / 2.
        """
        main = self.main(outputs).detach()
        sigma = (main[0].numel() / 2) ** 0.5
        noise = torch.randn(main.shape, generator=generator, dtype=torch.float64)
        drawn: Tensor = main + (sigma * noise).to(main.device, main.dtype)
        return drawn

    def divergence(self, outputs: Nest, wanted: Nest, temperature: float = 1.0) -> Tensor:
        return F.mse_loss(self.main(outputs), self.main(wanted).float()) / temperature**2

    def meter(self) -> Meter:
        return MainMeter(self, Errors())

    def check(self, outputs: Nest, targets: Nest) -> None:
        rule = "as many outputs as targets, numbers both"
        check_pairs(self, self.main(outputs), targets, rule)
        self.check_targets(targets, outputs)

    def check_targets(self, targets: Nest, outputs: Nest) -> None:
        wrong = targets[~torch.isfinite(targets)]
        if len(wrong):
            raise InputError(f"task regression needs finite targets, got {wrong[0].item():g}")


class Errors:
    """Adds up errors, in float64.

    R² of each number is weighted by its targets' variance: 1 − Σ e² / Σ (y − ȳ)², with both sums
    over all numbers. Numbers are brought near 1 first, which does not change it: the library takes
    sums of squares below 1e-4 for none.
    """

    def __init__(self) -> None:
        from torchmetrics.regression import MeanAbsoluteError, R2Score

        self._absolute = MeanAbsoluteError().set_dtype(torch.float64)
        self._explained = R2Score(multioutput="variance_weighted").set_dtype(torch.float64)
        self._scale: tuple[Tensor, Tensor] | None = None
        self._samples = 0

    def add(self, outputs: Tensor, targets: Nest) -> None:
        """Take outputs and targets of a batch."""
        given = as_rows(outputs)
        wanted = targets.double().cpu().view(given.shape)
        if self._scale is None:
            self._scale = _scale(wanted)
        middle, spread = self._scale
        self._samples += len(given)
        self._absolute.update(given, wanted)
        self._explained.update((given - middle) / spread, (wanted - middle) / spread)

    def scores(self) -> dict[str, Score]:
        """Return the mean absolute error, and R²; 0 where all targets are the same."""
        explained = 0.0 if self._samples < 2 else float(self._explained.compute().nan_to_num())
        return {
            "mean_absolute_error": Score(
                value=float(self._absolute.compute()), unit="", higher_is_better=False
            ),
            "r2": Score(value=explained, unit=""),
        }


def _scale(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the middle of targets (n, numbers) and about how far they are from it."""
    middle = targets.mean(0)
    far = (targets - middle).abs().mean()
    size = far if far > 0 else middle.abs().mean()
    return middle, size if size > 0 else torch.ones_like(size)
