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
    """Adds up errors, in float64."""

    def __init__(self) -> None:
        self._absolute = self._squared = self._count = 0.0
        self._targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Nest) -> None:
        """Take outputs and targets of a batch."""
        given = as_rows(outputs)
        wanted = targets.double().cpu().view(given.shape)
        self._absolute += float((given - wanted).abs().sum())
        self._squared += float((given - wanted).square().sum())
        self._count += given.numel()
        self._targets.append(wanted)

    def scores(self) -> dict[str, Score]:
        """Return the mean absolute error, and R² = 1 − Σ e² / Σ (y − ȳ)², ȳ of each number."""
        targets = torch.cat(self._targets)
        spread = float((targets - targets.mean(0)).square().sum())
        return {
            "mean_absolute_error": Score(
                value=self._absolute / self._count, unit="", higher_is_better=False
            ),
            "r2": Score(value=1 - self._squared / spread if spread else 0.0, unit=""),
        }
