"""What a refit takes: which samples, in which batches, and how much memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...support.memory import format_size
from ...support.nests import Nest
from ..data.source import Data
from ..recipe.prune import PruneSettings
from ..runs.device import Placement
from .held_back_loss import held_back_count

_BATCH = 64
_BATCH_VALUES = 1 << 21
"""Most samples, and most numbers, that pass through the network together: heuristics."""

_PROBES = 256
"""Most samples that tell whether a correction helped: a heuristic."""


@dataclass(frozen=True)
class RefitPlan:
    """The samples of a refit.

    Args:
        batch: samples that pass through the network together.
        batches: their number.
        positions: most positions of a sample that are used in each layer.
        budget: bytes of tensors between the layers that each rank may keep.
        ranks: among which batches are shared out.
    """

    batch: int
    batches: int
    positions: int
    budget: int
    ranks: int = 1

    def inputs(
        self,
        data: Data,
        settings: PruneSettings,
        place: Placement,
        draw: int,
        count: int,
        only: range | None = None,
    ) -> Iterator[Nest]:
        """Yield batches of training samples; none of the held-back samples is among them.

        Of ``count`` batches those whose numbers are in ``only`` are given.
        """
        found = data.fisher_batches(
            draw=draw,
            count=count,
            batch=self.batch,
            leave_out=held_back_count(settings, data),
            only=only,
        )
        for inputs, _ in found:
            yield place.tensor(inputs)

    def probes(self, data: Data, settings: PruneSettings, place: Placement) -> Iterator[Nest]:
        """Yield batches of held-back samples, which no refit and no correction learns from."""
        count = min(_PROBES, held_back_count(settings, data))
        for inputs, _ in data.held_back_batches(count=count, batch=self.batch):
            yield place.tensor(inputs)

    def describe(self, layers: int, kept: int) -> str:
        """Return a sentence for the user.

        Args:
            layers: that are fitted.
            kept: bytes of tensors between them.
        """
        return (
            f"refit: {layers} layers from {self.batch * self.batches:,} samples, at most "
            f"{self.positions:,} positions of each; {format_size(kept)} between layers, "
            f"budget {format_size(self.budget)}"
        )


def plan_refit(
    settings: PruneSettings, data: Data, values: int, budget: int, ranks: int = 1
) -> RefitPlan:
    """Choose the batches: all of one size, as the network is captured for one.

    Args:
        settings: say how many samples are wanted.
        data: has the training samples.
        values: numbers in one sample.
        budget: bytes that each rank may keep.
        ranks: their number.
    """
    samples = min(settings.refit_samples, len(data.train) - held_back_count(settings, data))
    most = max(1, min(_BATCH, _BATCH_VALUES // values, samples))
    whole = [size for size in range(most, most // 2, -1) if samples % size == 0]
    batch = whole[0] if whole else most
    return RefitPlan(batch, samples // batch, settings.refit_positions, budget, ranks)
