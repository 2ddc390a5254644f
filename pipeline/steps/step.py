"""A prune step on a network: gradients from the data, the mathematics, the masks put in force."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ...support.errors import InputError
from ...support.progress import Reporter, Task
from ..data.randomness import stream
from ..pruning.criteria.criterion import Fisher
from ..pruning.criteria.registry import CRITERIA
from ..pruning.gradients.evidence import Evidence
from ..pruning.step import Method, Outcome, prune, select
from ..pruning.tensors.layout import Layout
from ..pruning.tensors.masks import mask_weights
from ..pruning.tensors.schedule import substeps
from ..pruning.tuning import choose, neighbours
from ..ranks.traffic import rows_of
from .collect import Collector
from .correction import correct
from .held_back_loss import HeldBack, write_back
from .refresh_batchnorm import refresh_batchnorm
from .setup import Setup


@dataclass
class StepLog:
    """What a prune step did.

    Args:
        predicted: sum of the changes of the loss that the sub-steps predicted, in nats.
        before: loss on the held-back samples before the step, in nats.
        after: the same after it.
        seconds: time by part: gradients, factorisation, selection, update, refit,
            correction, and what measuring the loss took.
        swaps: pairs of weights that were exchanged.
        dampings: λ and μ of each sub-step, where they were tuned.
    """

    predicted: float = 0.0
    before: float = 0.0
    after: float = 0.0
    swaps: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            (
                "gradients",
                "factorisation",
                "selection",
                "update",
                "refit",
                "correction",
                "measuring",
            ),
            0.0,
        )
    )
    dampings: list[dict[str, float]] = field(default_factory=list)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += perf_counter() - begin

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of the step's line in ``log.jsonl``."""
        return {
            "predicted_loss_increase": self.predicted,
            "measured_loss_increase": self.after - self.before,
            "loss_before": self.before,
            "loss_after": self.after,
            "swaps": self.swaps,
            "dampings": self.dampings,
            **{f"{part}_seconds": seconds for part, seconds in self.seconds.items()},
        }


class PruneStep:
    """One prune step of a job, taken in sub-steps with fresh evidence each.

    Args:
        collector: the network, its prunables, the data, and where the bank goes.
        setup: method, axes and path of the job.
        index: number of the step, from 0, which fixes the samples that are drawn.
        reporter: shows the progress.
    """

    def __init__(
        self, collector: Collector, setup: Setup, *, index: int, reporter: Reporter
    ) -> None:
        self._collector, self._setup, self._index = collector, setup, index
        self._settings, self._weights = collector.settings, collector.weights
        self._reporter = reporter
        self._layout = Layout(collector.weights)
        self._held_back = HeldBack(
            collector.module,
            collector.weights,
            collector.data,
            collector.settings,
            collector.placement,
            collector.task,
            collector.ranks,
        )
        self._fisher = setup.method.fisher
        self._log = StepLog()
        self._chosen: list[Tensor] = []

    def run(
        self, masks: Mapping[str, Tensor], start: float, target: float
    ) -> tuple[dict[str, Tensor], StepLog]:
        """Prune the network from sparsity ``start`` to ``target``.

        Args:
            masks: the present masks by name, True = kept.
            start: sparsity of ``masks``.
            target: sparsity afterwards.

        Returns:
            The new masks, and what the step did. The weights of the network are changed.

        Raises:
            InputError: when the gradients do not admit a Fisher, with the cause and the remedy.
        """
        settings, log, method = self._settings, self._log, self._setup.method
        path = substeps(start, target, settings.recompute, settings.spacing)
        keep = self._layout.flatten(masks)
        if self._setup.refitter is not None:
            self._setup.refitter.remember()
        with log.timing("measuring"):
            log.before = log.after = self._held_back.loss()
        rows = 0 if method.need == "nothing" else len(self._collector.rows) * len(path)
        what = f"prune step {self._index + 1}"
        with self._progress(what, rows, len(path)) as task:
            for number in range(len(path)):
                draw = self._index * settings.recompute + number
                try:
                    keep = self._take(keep, path, number, draw, task)
                    self._refit(keep, draw, task)
                except (ArithmeticError, ValueError) as error:
                    raise InputError(f"{what} failed: {error}") from error
        new = {name: mask.clone() for name, mask in self._layout.split(keep).items()}
        mask_weights(self._weights, new)
        self._correct(f"{what}: correction", new)
        if settings.refresh_batchnorm:
            collector = self._collector
            refresh_batchnorm(
                collector.module, collector.data, collector.placement, collector.ranks
            )
        with log.timing("measuring"):
            log.after = self._held_back.loss()
        return new, log

    def _alike(self) -> None:
        """Give every rank what the first has in its network, to the bit."""
        ranks = self._collector.ranks
        if ranks.size > 1:
            for value in self._collector.module.state_dict().values():
                ranks.copy_from(value)

    def _take(self, keep: Tensor, path: list[float], number: int, draw: int, task: Task) -> Tensor:
        """Measure, choose and update in sub-step ``number``; return the new mask, ``Bool[d]``."""
        present = torch.ones_like(keep) if self._settings.regrow else keep
        begin = perf_counter()
        with self._collector.evidence(
            self._setup.method.need, present, draw=draw, on_row=task.advance
        ) as evidence:
            self._log.seconds["gradients"] += perf_counter() - begin
            if not self._settings.reselect and not self._chosen:
                self._chosen = self._choose_once(evidence, keep, path)
            mask = self._chosen[number] if self._chosen else None
            return self._sub_step(evidence, keep, path[number], mask)

    def _sub_step(
        self, evidence: Evidence, keep: Tensor, sparsity: float, mask: Tensor | None
    ) -> Tensor:
        """Prune once and put the weights in force; return the new mask."""
        w, sharing = self._layout.flatten(self._weights), self._setup.sharing

        def attempt(method: Method, mask: Tensor | None = mask) -> Outcome:
            outcome = prune(
                self._owned(w), self._owned(keep), evidence, sparsity=sparsity,
                layout=self._layout if sharing is None else sharing.layout,
                axes=self._setup.axes if sharing is None else sharing.axes,
                method=method, mask=None if mask is None else self._owned(mask),
            )  # fmt: skip
            self._count(outcome)
            if sharing is None:
                return outcome
            weights, kept = sharing.whole(outcome.weights), sharing.whole(outcome.keep)
            return replace(outcome, weights=weights, keep=kept)

        method = self._at(sparsity, self._fisher)
        outcome = self._tuned(method, attempt) if self._settings.tune_damping else attempt(method)
        write_back(self._weights, self._layout.split(outcome.weights))
        self._log.predicted += outcome.loss
        self._log.swaps += outcome.swaps
        return outcome.keep

    def _owned(self, vector: Tensor) -> Tensor:
        """Return what this process owns of a vector of all weights: all of it, or its columns."""
        sharing = self._setup.sharing
        return vector if sharing is None else sharing.here(vector)

    def _progress(self, what: str, rows: int, path: int) -> AbstractContextManager[Task]:
        """Open one bar over the gradients of a step, and over the layers that are refitted."""
        refitter = self._setup.refitter
        if refitter is None:
            return self._reporter.task(f"{what}: gradients", rows, "gradient")
        layers = len(refitter.layers) * path
        if not rows:
            return self._reporter.task(f"{what}: refit", layers, "layer")
        return self._reporter.task(f"{what}: gradients and layers", rows + layers, "unit")

    def _refit(self, keep: Tensor, draw: int, task: Task) -> None:
        """Fit the kept weights to the outputs of the dense network, where the recipe wants it."""
        plan, refitter, gatherer = self._setup.refit, self._setup.refitter, self._collector
        if plan is None or refitter is None:
            return
        ranks = gatherer.ranks
        with self._log.timing("refit"):
            inputs = plan.inputs(
                gatherer.data, self._settings, gatherer.placement, draw, plan.batches,
                only=rows_of(plan.batches, ranks.size, ranks.rank),
            )  # fmt: skip
            refitter.run(
                self._layout.split(keep),
                list(inputs),
                positions=plan.positions,
                seed=stream(gatherer.data.seed, "refit", draw),
                budget=plan.budget,
                on_layer=task.advance,
                ranks=ranks,
            )
            self._alike()

    def _correct(self, what: str, masks: Mapping[str, Tensor]) -> None:
        """Let parameters learn the dense network's outputs end to end, where the recipe wants it.

        It comes after the last refit, as another one would undo it. The first of the ranks does it
        for all of them: Adam makes much of differences that the order of sums makes.
        """
        if self._setup.refitter is None or not self._settings.correction_steps:
            return
        ranks = self._collector.ranks
        if ranks.first:
            self._corrected(what, masks)
        ranks.wait()
        self._alike()

    def _corrected(self, what: str, masks: Mapping[str, Tensor]) -> None:
        """Do it in this process."""
        plan, refitter, gatherer = self._setup.refit, self._setup.refitter, self._collector
        steps = self._settings.correction_steps
        assert plan is not None
        assert refitter is not None
        inputs = partial(
            plan.inputs, gatherer.data, self._settings, gatherer.placement, self._index, steps
        )
        probes = plan.probes(gatherer.data, self._settings, gatherer.placement)
        kept = masks if self._settings.correction == "weights" else None

        @contextmanager
        def attempt() -> Iterator[Callable[[], None]]:
            with self._reporter.task(what, steps, "step") as task:
                yield task.advance

        with self._log.timing("correction"):
            try:
                helped = correct(
                    gatherer.module, refitter.dense, inputs, steps=steps, probes=list(probes),
                    masks=kept, task=gatherer.task, attempt=attempt,
                )  # fmt: skip
            except ArithmeticError as error:
                raise InputError(f"{what} failed: {error}; leave out correction_steps") from error
        if not helped:
            self._reporter.say(f"{what}: nothing was gained, the refit stands as it was")

    def _tuned(self, method: Method, attempt: Callable[..., Outcome]) -> Outcome:
        """Return the outcome of least loss on the held-back samples over the dampings.

        Exchanges are tried with the best of them alone, and stand only if they lower that loss too.
        """

        def measured(outcome: Outcome) -> float:
            with self._log.timing("measuring"):
                return self._held_back.loss(outcome.weights)

        plain = replace(method, swaps=0)
        taylor = method.need == "bank+gradient"
        found = choose(
            neighbours(self._fisher, taylor=taylor),
            lambda fisher: attempt(replace(plain, fisher=fisher)),
            measured,
        )
        self._fisher = found.fisher
        self._log.dampings.append(
            {"damping": found.fisher.damping, "taylor_damping": found.fisher.taylor_damping}
        )
        if not method.swaps:
            return found.result
        exchanged = attempt(replace(method, fisher=found.fisher), mask=found.result.keep)
        return exchanged if measured(exchanged) < found.loss else found.result

    def _count(self, outcome: Outcome) -> None:
        for part in ("factorisation", "selection", "update"):
            self._log.seconds[part] += getattr(outcome.seconds, part)

    def _choose_once(self, evidence: Evidence, keep: Tensor, path: list[float]) -> list[Tensor]:
        """Choose the masks of all sub-steps by the scores of the first."""
        w = self._layout.flatten(self._weights)
        sharing = self._setup.sharing
        layout = self._layout if sharing is None else sharing.layout
        axes = self._setup.axes if sharing is None else sharing.axes
        criterion = CRITERIA[self._setup.method.criterion].build(evidence, layout, self._fisher)
        masks, w, keep = [], self._owned(w), self._owned(keep)
        with self._log.timing("selection"):
            for sparsity in path:
                keep = select(
                    criterion, w, keep, sparsity=sparsity, layout=layout, axes=axes,
                    method=self._at(sparsity, self._fisher),
                )  # fmt: skip
                masks.append(keep if sharing is None else sharing.whole(keep))
        return masks

    def _at(self, sparsity: float, fisher: Fisher) -> Method:
        """Return the method with the limits of a sub-step on the way to the final sparsity."""
        method = self._setup.method
        progress = min(1.0, sparsity / self._settings.final_sparsity)
        return replace(method, limits=method.limits.part_way(progress), fisher=fisher)
