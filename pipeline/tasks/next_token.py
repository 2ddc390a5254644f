"""The token that follows, at each position of a text."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from ...exporters.documents.score import ACCURACY, Score
from ...exporters.measuring.accuracy import IGNORED, Meter
from ...support.nests import Nest
from .classification import Classification, Labelled
from .task import MainMeter, no_fit

_MOST = 1e18  # of a perplexity, so that it stays a number


class NextToken(Classification):
    """Outputs (n, positions, tokens); targets (n, positions): the tokens themselves, −100 = none.

    The outputs at a position are for the token behind it, as causal language models of transformers
    have it: the first target and the last outputs have no counterpart.
    """

    kind: ClassVar[str] = "next-token"
    evaluated: ClassVar[int] = 8
    metrics: ClassVar[tuple[str, ...]] = (ACCURACY, "perplexity", "top5_accuracy")
    rule: ClassVar[str] = (
        "scores of shape (samples, positions, tokens) and the index of the token at each position"
    )

    def scores_last(self, outputs: Nest) -> Tensor:
        return self.main(outputs)[:, :-1]

    def labels(self, targets: Nest, classes: int) -> Tensor:
        return targets[:, 1:]  # type: ignore[no-any-return]

    def draw(self, outputs: Nest, generator: torch.Generator) -> Tensor:
        drawn = super().draw(outputs, generator)
        return torch.cat([drawn.new_full((len(drawn), 1), IGNORED), drawn], 1)

    def meter(self) -> Meter:
        return MainMeter(self, _Tokens(self))

    def check(self, outputs: Nest, targets: Nest) -> None:
        main = self.main(outputs)
        fits = isinstance(targets, Tensor) and not targets.is_floating_point()
        if main.dim() != 3 or not fits or main.shape[:2] != targets.shape or targets.shape[1] < 2:
            raise no_fit(self, main, targets, self.rule)


class _Tokens(Labelled):
    """Counts tokens that are right, and adds up how likely those were that came."""

    def __init__(self, task: NextToken) -> None:
        super().__init__(task)
        self._perplexity: Any = None

    def add(self, outputs: Nest, targets: Nest) -> None:
        from torchmetrics.text import Perplexity

        super().add(outputs, targets)
        if self._perplexity is None:
            self._perplexity = Perplexity(IGNORED)
        scores = self.task.scores_last(outputs).cpu().double()
        labels = self.task.labels(targets, scores.shape[-1]).cpu().long()
        self._perplexity.update(scores, labels)

    def scores(self) -> dict[str, Score]:
        """Return the share of tokens that are right, and the perplexity of all of them."""
        value = float(self._perplexity.compute())
        finite = min(value, _MOST) if value == value else _MOST
        score = Score(value=finite, unit="", higher_is_better=False)
        return {**super().scores(), "perplexity": score}
