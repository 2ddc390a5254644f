"""Measuring what a criterion needs: gradients into a bank where the plan puts it, or factors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data.randomness import stream
from ..data.source import Data
from ..pruning.gradients.bank import DiskBank, RecomputedBank, RowSink, TensorBank
from ..pruning.gradients.evidence import Evidence, KroneckerFactors, Need
from ..pruning.gradients.groups import Batch
from ..pruning.gradients.kronecker_factors import collect_factors
from ..pruning.gradients.rows import collect
from ..pruning.memory.plan import MemoryPlan
from ..pruning.tensors.layout import Layout
from ..pruning.tensors.reduction import WHOLE
from ..ranks.group import Ranks, alone
from ..ranks.panels import Panels
from ..ranks.sums import Sums
from ..ranks.traffic import Traffic, rows_of
from ..recipe.prune import PruneSettings
from ..runs.device import Placement
from ..tasks.registry import DEFAULT_TASK
from ..tasks.task import Task
from .held_back_loss import held_back_count
from .sharing import Sharing


@dataclass(frozen=True)
class Collector:
    """Where evidence comes from: the network, the data, the task, and the plan of the memory.

    ``plan`` is None where no bank is needed; ``folder`` is where a bank on the disk is. Each of
    several ``ranks`` measures on its share of the samples; with ``sharing`` the bank holds the
    columns that this one owns, of the rows of all.
    """

    module: nn.Module
    weights: dict[str, nn.Parameter]
    data: Data
    settings: PruneSettings
    placement: Placement
    plan: MemoryPlan | None
    folder: Path
    task: Task = DEFAULT_TASK
    ranks: Ranks = field(default_factory=alone)
    sharing: Sharing | None = None

    @property
    def rows(self) -> range:
        """Which of the gradients of a measurement this rank makes."""
        return rows_of(self.settings.gradients, self.ranks.size, self.ranks.rank)

    def of_all(self, rows: Tensor) -> Tensor:
        """Return numbers of all rows, where those of this rank's stand first, ``Float[N, m]``."""
        return torch.cat(self.ranks.gather(rows[: len(self.rows)]))

    @contextmanager
    def evidence(
        self, need: Need, keep: Tensor, *, draw: int, on_row: Callable[[], None]
    ) -> Iterator[Evidence]:
        """Measure around the present weights; a bank on the disk is gone after the block.

        Args:
            need: what is measured.
            keep: ``Bool[d]``; weights that are pruned have no gradients.
            draw: number of the measurement, which fixes the samples and the labels drawn.
            on_row: called after each gradient, of the first pass where there are several.
        """
        found = Evidence(
            batch=self.settings.fisher_batch, seed=stream(self.data.seed, "labels", draw)
        )
        if need == "nothing":
            yield found
        elif need == "factors":
            yield replace(found, factors=self._factors(draw, found.seed, on_row))
        else:
            with self._bank(found, need == "bank+gradient", keep, draw, on_row) as (bank, gradient):
                yield replace(found, bank=bank, gradient=gradient)

    @contextmanager
    def _bank(
        self, found: Evidence, mean: bool, keep: Tensor, draw: int, on_row: Callable[[], None]
    ) -> Iterator[tuple[TensorBank | DiskBank | RecomputedBank, Tensor | None]]:
        plan, layout, device = self.plan, Layout(self.weights), self.placement.device
        assert plan is not None
        rows = self.settings.gradients
        owned = layout if self.sharing is None else self.sharing.layout

        def fill(sink: RowSink | None, names: Sequence[str], mean: bool = False) -> Tensor | None:
            return collect(
                self.module,
                {name: self.weights[name] for name in names},
                self._batches(draw),
                self.task.loss,
                rows=len(self.rows),
                keep=torch.cat([keep[layout.places[name]] for name in names]),
                sink=sink,
                labels=self.settings.fisher_labels,
                draw=self.task.draw,
                generator=self._generator(found.seed),
                micro_batch=self.settings.micro_batch,
                mean_gradient=mean,
                on_row=on_row,
            ).gradient

        def fill_all(bank: TensorBank | DiskBank) -> Tensor | None:
            if self.sharing is None:
                return fill(bank, everything, mean)
            return self._shared_out(self.sharing, bank, plan.dtype, partial(fill, mean=mean))

        everything = list(self.weights)
        if plan.place == "passes":

            def again(group: int, sink: RowSink) -> None:
                fill(sink, plan.groups[group])

            sizes = [sum(layout.sizes[name] for name in names) for names in plan.groups]
            gradient = fill(None, everything, mean=True) if mean else None
            yield RecomputedBank(rows, sizes, again, plan.dtype, device), gradient
        elif plan.place == "disk":
            with DiskBank(self.folder, rows, owned.total, plan.dtype, device) as on_disk:
                yield on_disk, fill_all(on_disk)
        else:
            where = device if plan.place == "device" else torch.device("cpu")
            G = torch.empty(rows, owned.total, dtype=plan.dtype, device=where)
            bank = TensorBank(G, device)
            yield bank, fill_all(bank)

    def _shared_out(
        self,
        sharing: Sharing,
        bank: RowSink,
        dtype: torch.dtype,
        fill: Callable[[RowSink, Sequence[str]], Tensor | None],
    ) -> Tensor | None:
        """Make the rows of this rank, fill its bank with those of all, and return its part of ḡ."""
        panels = Panels(
            self.ranks, sharing.cuts, self.settings.gradients, bank, dtype,
            self.placement.device, sharing.traffic,
        )  # fmt: skip
        gradient = fill(panels, list(self.weights))
        panels.finish()
        if gradient is None:
            return None
        share = len(self.rows) / self.settings.gradients
        return sharing.here(sharing.layout.sums.sum(gradient * share)).clone()

    def into(self, sink: RowSink, keep: Tensor, *, draw: int, on_row: Callable[[], None]) -> None:
        """Give a sink the gradients that this rank makes of a measurement.

        Arguments are those of :meth:`evidence`.
        """
        collect(
            self.module,
            self.weights,
            self._batches(draw),
            self.task.loss,
            rows=len(self.rows),
            keep=keep,
            sink=sink,
            labels=self.settings.fisher_labels,
            draw=self.task.draw,
            generator=self._generator(stream(self.data.seed, "labels", draw)),
            micro_batch=self.settings.micro_batch,
            on_row=on_row,
        )

    def _factors(
        self, draw: int, seed: int, on_row: Callable[[], None]
    ) -> dict[str, KroneckerFactors]:
        return collect_factors(
            self.module,
            self.weights,
            self._batches(draw),
            self.task.loss,
            count=len(self.rows),
            labels=self.settings.fisher_labels,
            draw=self.task.draw,
            generator=self._generator(seed),
            on_batch=on_row,
            sums=Sums(self.ranks, Traffic()) if self.ranks.size > 1 else WHOLE,
        )

    def _batches(self, draw: int) -> Iterator[Batch]:
        """Yield the mini-batches of one measurement, on the device."""
        tuned = self.settings.tune_damping
        batches = self.data.fisher_batches(
            draw=draw,
            count=self.settings.gradients,
            batch=self.settings.fisher_batch,
            leave_out=held_back_count(self.settings, self.data) if tuned else 0,
            only=self.rows,
        )
        for inputs, targets in batches:
            yield self.placement.tensor(inputs), self.placement.targets(targets)

    def _generator(self, seed: int) -> torch.Generator:
        """Return what draws the labels of this rank's rows."""
        mine = seed if self.ranks.first else stream(seed, "rank", self.ranks.rank)
        return torch.Generator().manual_seed(mine)
