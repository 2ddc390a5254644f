"""Pruning in a training loop of one's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from ...models.calling import spreading
from ...support.errors import InputError
from ...support.nests import each
from ..data.preparation.structured import parts
from ..pruning.criteria.criterion import Fisher, Update
from ..pruning.criteria.registry import CRITERIA
from ..pruning.gradients.bank import TensorBank
from ..pruning.gradients.evidence import Evidence
from ..pruning.gradients.groups import Batch
from ..pruning.gradients.per_sample import Loss
from ..pruning.gradients.rows import collect_gradients
from ..pruning.step import Method, prune
from ..pruning.tensors.layout import Layout
from ..pruning.tensors.masks import mask_weights, sparsity
from ..pruning.tensors.prunables import FIRST_CONV, LAST_LINEAR, find_prunables, input_axes
from ..pruning.tensors.schedule import sparsities
from ..recipe.pattern import CHANNEL
from .held_back_loss import write_back
from .pattern import pattern_of

_NEEDS = ("nothing", "bank")


class Pruner:
    """Prunes a network step by step, between which the caller trains it.

    A step collects the gradients of single mini-batches in eval mode, scores and updates the
    weights as :mod:`..pruning.step` does, and goes on to the next sparsity of a cubic schedule.

    Args:
        model: the network, which is changed in place; it may be moved to another device later.
        gradients: mini-batches, as a list or loader that can be read again, and the loss, from
            outputs and targets to their mean: ``(batches, loss)``. A mini-batch is inputs and
            targets, or a mapping with ``labels``.
        sparsity: pruned / total in the end.
        steps: number of prune steps.
        rows: N, gradients a step, one for each mini-batch; where there are fewer, they come again.
        criterion: ``woodfisher``, ``magnitude`` and others that need no more than gradients.
        update: of the kept weights: ``none``, ``single`` or ``joint``.
        pattern: ``unstructured``, ``2:4``, ``block:4:out``.
        damping: λ, added to the Fisher's diagonal.
        exclude: glob patterns of weights that stay dense.

    Raises:
        InputError: when a setting is out of range, or nothing can be pruned.
    """

    def __init__(
        self,
        model: nn.Module,
        gradients: tuple[Iterable[Any], Loss],
        *,
        sparsity: float,
        steps: int = 1,
        rows: int = 256,
        criterion: str = "woodfisher",
        update: Update = "joint",
        pattern: str = "unstructured",
        damping: float = 1e-5,
        exclude: Sequence[str] = (FIRST_CONV, LAST_LINEAR),
    ) -> None:
        _check(criterion, update, pattern, rows)
        try:
            self._path = sparsities(sparsity, steps, "cubic")
            self._weights = find_prunables(model, exclude=exclude)
            shape, fisher = pattern_of(pattern), Fisher(damping=damping)
        except ValueError as error:
            raise InputError(str(error)) from None
        self._model = model
        self._batches, self._loss = gradients
        self._rows = rows
        self._layout = Layout(self._weights)
        self._axes = input_axes(model, self._weights)
        self._method = Method(criterion=criterion, update=update, pattern=shape, fisher=fisher)
        self.masks = {
            name: torch.ones_like(weight, dtype=torch.bool)
            for name, weight in self._weights.items()
        }
        """Masks by name, True = kept."""
        self._done = 0

    @property
    def sparsity(self) -> float:
        """Pruned / total now."""
        return sparsity(self.masks)

    @property
    def done(self) -> int:
        """The number of prune steps done."""
        return self._done

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self._done == len(self._path)

    def step(self) -> float:
        """Prune to the next sparsity of the schedule; return the predicted increase of the loss.

        Raises:
            InputError: when all steps are done, or the sparsity cannot be had.
        """
        if self.finished:
            raise InputError(f"all {len(self._path)} prune steps are done")
        self._follow()
        w = self._layout.flatten(self._weights)
        keep = torch.cat([mask.flatten() for mask in self.masks.values()])
        try:
            outcome = prune(
                w, keep, self._evidence(keep), sparsity=self._path[self._done],
                layout=self._layout, axes=self._axes, method=self._method,
            )  # fmt: skip
        except (ValueError, ArithmeticError) as error:
            raise InputError(f"prune step {self._done + 1} failed: {error}") from error
        write_back(self._weights, self._layout.split(outcome.weights))
        self.masks = self._layout.split(outcome.keep)
        self._done += 1
        return outcome.loss

    def enforce(self) -> None:
        """Set every pruned weight to zero: call it after each step of the optimizer."""
        self._follow()
        mask_weights(self._weights, self.masks)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks and the number of steps done."""
        return {"done": self._done, "masks": {n: m.clone() for n, m in self.masks.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, and put its masks in force.

        Raises:
            InputError: when it is of another network or schedule.
        """
        masks, done = state["masks"], int(state["done"])
        mine = {name: weight.shape for name, weight in self._weights.items()}
        if {name: mask.shape for name, mask in masks.items()} != mine:
            raise InputError("the state of the pruner is of another network, or other layers of it")
        if not 0 <= done <= len(self._path):
            raise InputError(f"the state has {done} steps done, the schedule {len(self._path)}")
        self.masks = {n: masks[n].to(w.device, torch.bool) for n, w in self._weights.items()}
        self._done = done
        self.enforce()

    def _follow(self) -> None:
        """Bring the masks to where the weights are now."""
        self.masks = {
            name: mask.to(self._weights[name].device) for name, mask in self.masks.items()
        }

    def _evidence(self, keep: Tensor) -> Evidence:
        if self._method.need == "nothing":
            return Evidence(seed=self._done)
        with spreading(self._model):
            G = collect_gradients(
                self._model, self._weights, self._over_and_over(), self._loss,
                rows=self._rows, keep=keep,
            )  # fmt: skip
        return Evidence(bank=TensorBank(G))

    def _over_and_over(self) -> Iterator[Batch]:
        device = next(iter(self._weights.values())).device
        while True:
            empty = True
            for batch in self._batches:
                empty = False
                yield each(lambda t: t.to(device), parts(batch, "gradients"))
            if empty:
                raise InputError("gradients need at least one mini-batch, got none")


def _check(criterion: str, update: str, pattern: str, rows: int) -> None:
    """Refuse what a recipe takes and a loop of one's own cannot, and numbers out of range."""
    known = [name for name, kind in CRITERIA.items() if kind.need in _NEEDS]
    if criterion not in known:
        raise InputError(f"criterion must be one of {', '.join(known)}, got {criterion!r}")
    if update not in get_args(Update):
        raise InputError(f"update must be one of {', '.join(get_args(Update))}, got {update!r}")
    if pattern == CHANNEL:
        raise InputError(
            "pattern channel changes the shapes of a network, which a training loop of one's own "
            "holds: take wfpipe.compress, or another pattern"
        )
    if rows < 1:
        raise InputError(f"rows must be at least 1, got {rows}")
