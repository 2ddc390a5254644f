"""A prune step that removes whole channels: losses of groups, the choice, the masks."""

from __future__ import annotations

from time import perf_counter

from torch import Tensor

from ....support.progress import Task
from ...pruning.choice.widths import choose
from ...pruning.criteria.group_losses import GroupRows, squares
from ...pruning.tensors.masks import mask_weights
from ..step import PruneStep
from .channels import Channels


class ChannelStep(PruneStep):
    """One prune step of a job whose pattern is channel; arguments are those of ``PruneStep``.

    What its amounts count is what the recipe's target does: the share of the MACs, or of the
    prunable weights, that is gone.
    """

    def _take(self, keep: Tensor, path: list[float], number: int, draw: int, task: Task) -> Tensor:
        """Choose the groups of a sub-step, and put their masks in force."""
        channels = self._setup.channels
        assert channels is not None
        present = channels.present(self._layout.split(keep))
        begin = perf_counter()
        losses = self._losses(channels, keep, draw, task)
        self._log.seconds["gradients"] += perf_counter() - begin
        with self._log.timing("selection"):
            target = (1 - path[number]) * channels.dense
            stay = choose(losses, channels.groups, channels.rules, present, target)
        gone = present & ~stay
        self._log.predicted += float(losses[gone].sum())
        masks = channels.groups.masks(stay)
        before = self._layout.split(keep)
        new = {n: masks[n].to(keep.device) if n in masks else before[n] for n in self._weights}
        mask_weights(self._weights, new)
        return self._layout.flatten(new)

    def _refit(self, keep: Tensor, draw: int, task: Task) -> None:
        """Refit, and take out the constants that it gave to channels that are gone."""
        super()._refit(keep, draw, task)
        mask_weights(self._weights, self._layout.split(keep))

    def _losses(self, channels: Channels, keep: Tensor, draw: int, task: Task) -> Tensor:
        """Return the loss of each group by the recipe's criterion, ``Float64[m]``."""
        if self._settings.criterion == "magnitude":
            return squares({n: p.cpu() for n, p in self._weights.items()}, channels.groups)
        rows = GroupRows(
            self._weights, channels.groups, self._settings.gradients, self._settings.criterion
        )
        self._collector.into(rows, keep, draw=draw, on_row=task.advance)
        rows.sums = self._collector.of_all(rows.sums)
        return rows.losses()
