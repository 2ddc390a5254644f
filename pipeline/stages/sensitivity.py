"""Sensitivity of a network's layers: what their sparsity is predicted to cost, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...exporters.reporting.sensitivity_plot import sensitivity_svg
from ...support.errors import InputError
from ...support.files import check_writable, write_bytes, write_json
from ...support.progress import Reporter
from ..pruning.loss_curves import Curve, Point, check_criterion, grid
from ..recipe.pattern import CHANNEL
from ..recipe.reading import Values, resolve
from ..recipe.recipe import Recipe
from ..steps.pattern import pattern_of
from ..steps.predicted_losses import predict_losses
from .opening import open_parts

SENSITIVITY_SCHEMA = "wfpipe-sensitivity/1"
DEFAULTS: Values = {"prune": {"update": "none", "fisher_labels": "model"}}
"""Under the recipe, in place of its own defaults: what predicts best, as docs/sensitivity.md shows.
"""
_COLUMNS = 5
"""Sparsities in the table, as many as fit a terminal."""
_NAMED = 3
"""Layers named in the summary at each end."""
_USUAL = 0.9
"""Sparsity of the summary where a target of time takes the place of the recipe's."""


@dataclass(frozen=True)
class Files:
    """Where the figures go; None = nowhere."""

    json: Path | None = None
    svg: Path | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse files that could not be written, or would replace others unasked.

        Raises:
            InputError: naming the file and the remedy.
        """
        for flag, path in (("--json", self.json), ("--svg", self.svg)):
            if path is None:
                continue
            check_writable(path, flag)
            if path.exists() and not self.overwrite:
                raise InputError(
                    f"{flag} {str(path)!r} already exists: pass --overwrite to replace it, "
                    "or name another file"
                )
        if self.json and self.svg and self.json.resolve() == self.svg.resolve():
            raise InputError(f"--json and --svg are the same file {str(self.json)!r}")

    def write(self, found: Sensitivity) -> None:
        """Write the files that were asked for."""
        drawing = found.to_svg() if self.svg else b""
        if self.json:
            write_json(self.json, found.to_dict())
        if self.svg:
            write_bytes(self.svg, drawing)


@dataclass(frozen=True)
class Sensitivity:
    """The curves of the layers, with what they were measured with.

    Args:
        recipe: names network, data, criterion and the rest.
        shapes: of the layers, by name.
        sparsities: of the curves, in rising order.
        curves: one for each layer, in their order; one at least has points.
    """

    recipe: Recipe
    shapes: dict[str, list[int]]
    sparsities: tuple[float, ...]
    curves: list[Curve]

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds."""
        prune = self.recipe.prune
        return {
            "schema": SENSITIVITY_SCHEMA,
            "model": self.recipe.model.name,
            "data": self.recipe.data.source,
            "criterion": prune.criterion,
            "update": prune.update,
            "pattern": prune.pattern,
            "gradients": prune.gradients,
            "fisher_batch": prune.fisher_batch,
            "fisher_labels": prune.fisher_labels,
            "seed": self.recipe.run.seed,
            "recipe_digest": self.recipe.digest(),
            "unit": "nats",
            "layers": [self._layer(curve) for curve in self.curves],
        }

    def to_svg(self) -> bytes:
        """Return the plot."""
        model, data = self.recipe.model.name, self.recipe.data.source
        points = {
            curve.layer: [(point.sparsity, point.loss) for point in curve.points]
            for curve in self.curves
            if curve.points
        }
        return sensitivity_svg(points, f"{Path(model).name} on {Path(data).name}: {self.how()}")

    def how(self) -> str:
        """Say in a few words by what the loss was predicted."""
        prune = self.recipe.prune
        return (
            f"{prune.criterion}, update {prune.update}, labels of the {prune.fisher_labels}, "
            f"{prune.gradients} gradients"
        )

    def table(self) -> list[tuple[str, ...]]:
        """Return the increase of the loss in nats as rows of text, the header first."""
        columns = self._columns()
        rows: list[tuple[str, ...]] = [
            ("layer", "shape", "weights", *(f"{100 * self.sparsities[i]:.4g} %" for i in columns))
        ]
        for curve in self.curves:
            shape = self.shapes[curve.layer]
            rows.append(
                (
                    curve.layer,
                    " × ".join(map(str, shape)),
                    f"{torch.Size(shape).numel():,}",
                    *(_figure(curve.points[i].loss) if curve.points else "–" for i in columns),
                )
            )
        return rows

    def summary(self) -> str:
        """Say in one sentence which layers are most and least sensitive."""
        wanted = self.recipe.prune.sparsity or _USUAL
        at = min(range(len(self.sparsities)), key=lambda i: abs(self.sparsities[i] - wanted))
        points: list[tuple[str, Point]] = [
            (curve.layer, curve.points[at]) for curve in self.curves if curve.points
        ]
        ranked = sorted(points, key=lambda item: -item[1].loss)
        words = [f"{name} ({_figure(point.loss)} nats)" for name, point in ranked]
        count = min(_NAMED, len(words) // 2)
        begin = f"at {100 * self.sparsities[at]:.4g} % sparsity of one layer"
        if count == 0:
            return f"{begin}, the only one is {words[0]}"
        return (
            f"{begin}, the most sensitive {_are(count)} {', '.join(words[:count])}; "
            f"the least sensitive {_are(count)} {', '.join(words[: -count - 1 : -1])}"
        )

    def _columns(self) -> list[int]:
        """Return which sparsities the table shows: first, last, and others evenly between."""
        last = len(self.sparsities) - 1
        if last < _COLUMNS:
            return list(range(last + 1))
        return [round(number * last / (_COLUMNS - 1)) for number in range(_COLUMNS)]

    def _layer(self, curve: Curve) -> dict[str, Any]:
        shape = self.shapes[curve.layer]
        return {
            "name": curve.layer,
            "shape": shape,
            "weights": torch.Size(shape).numel(),
            "problem": curve.problem or None,
            "points": [
                {
                    "sparsity": point.sparsity,
                    "pruned": point.pruned,
                    "predicted_loss_increase": point.loss,
                }
                for point in curve.points
            ],
        }


def sensitivity_recipe(file: Values | None, flags: Values) -> Recipe:
    """Return the recipe for values of a file and of flags over the defaults of this command.

    Raises:
        InputError: naming the first key that is unknown or whose value breaks a rule.
    """
    return resolve(DEFAULTS, file or {}, flags)


def parse_sparsities(text: str) -> list[float]:
    """Return the sparsities of a list such as ``"0.5,0.8,0.9"``.

    Raises:
        InputError: naming what is not a number.
    """
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            raise InputError(
                f"--sparsities takes numbers with commas between, such as 0.5,0.8,0.9; got {part!r}"
            ) from None
    return found


def measure_sensitivity(
    recipe: Recipe, sparsities: list[float] | None, reporter: Reporter, *, folder: Path
) -> Sensitivity:
    """Collect gradients once and predict what the sparsity of each layer costs.

    Args:
        recipe: names network, data, criterion, update and pattern.
        sparsities: of the curves; None: the default grid.
        reporter: shows progress and warnings.
        folder: where a gradient bank that does not fit the memory is, without a name, until the
            work is done.

    Raises:
        InputError: for anything in the recipe or in the files that cannot work.
    """
    if recipe.prune.pattern == CHANNEL:
        raise InputError("sensitivity is of single weights and blocks: it takes no pattern channel")
    try:
        check_criterion(recipe.prune.criterion)
        wanted = grid(pattern_of(recipe.prune.pattern), sparsities)
    except ValueError as error:
        raise InputError(str(error)) from None
    if recipe.prune.update == "refit":
        raise InputError("sensitivity predicts update none, single and joint, got 'refit'")
    parts = open_parts(recipe, folder, reporter)
    try:
        found = predict_losses(parts.collector, parts.setup, wanted, reporter)
    except (ArithmeticError, ValueError) as error:
        raise InputError(f"sensitivity failed: {error}") from error
    if not any(curve.points for curve in found):
        raise InputError(f"sensitivity failed: {found[0].problem}")
    for curve in found:
        if curve.problem:
            reporter.warn(f"no curve for {curve.layer}: {curve.problem}")
    shapes = {name: list(weight.shape) for name, weight in parts.weights.items()}
    return Sensitivity(recipe, shapes, wanted, found)


def _figure(loss: float) -> str:
    """Return a loss in nats with two figures, or whole where it is large."""
    return f"{loss:.0f}" if 99.5 <= abs(loss) < 1e6 else f"{loss:.2g}"


def _are(count: int) -> str:
    return "layer is" if count == 1 else "layers are"
