"""The predicted loss of each layer over sparsities, from gradients of the network as it is."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import torch

from ...support.progress import Reporter
from ..pruning.loss_curves import Curve, curves
from ..pruning.tensors.layout import Layout
from ..ranks.group import alone
from .collect import Collector
from .setup import Setup


def predict_losses(
    collector: Collector, setup: Setup, sparsities: tuple[float, ...], reporter: Reporter
) -> list[Curve]:
    """Collect evidence once and return the curve of each layer, in their order.

    Args:
        collector: the network, its prunables, the data, and where the bank goes.
        setup: method, axes and memory plan.
        sparsities: of the curves, in rising order.
        reporter: shows progress.

    Raises:
        ValueError: when the criterion predicts no loss.
        ArithmeticError: when gradients or factors are not finite.
    """
    collector = replace(collector, ranks=alone(), sharing=None)  # each of several does all of it
    layout = Layout(collector.weights)
    w = layout.flatten(collector.weights)
    keep = torch.ones(layout.total, dtype=torch.bool, device=w.device)
    in_passes = setup.plan is not None and setup.plan.place == "passes"
    rows = 0 if in_passes else collector.settings.gradients  # passes come with the layers
    found = []
    with ExitStack() as stack:
        with reporter.task("gradients", rows, "gradient") as task:
            evidence = stack.enter_context(
                collector.evidence(setup.method.need, keep, draw=0, on_row=task.advance)
            )
        with reporter.task("sensitivity", len(collector.weights), "layer") as task:
            for curve in curves(
                w, evidence, sparsities=sparsities, layout=layout, axes=setup.axes,
                method=setup.method,
            ):  # fmt: skip
                found.append(curve)
                task.advance(note=curve.layer)
    return found
