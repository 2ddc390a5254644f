"""A report with every form of a model, and the log of a run, that tests of pages share."""

from __future__ import annotations

from typing import Any

from wfpipe.exporters.documents.report import (
    GateResult,
    Latency,
    LayerFigures,
    ModelFigures,
    Report,
    Speedup,
    VariantFigures,
)
from wfpipe.exporters.documents.run_log import Event
from wfpipe.tests.exporters.package_samples import make_report, model_figures


def latency(p50: float) -> Latency:
    """A latency with a distribution from 0.8 to 1.8 times its median."""
    quantiles = tuple(p50 * (0.8 + 0.02 * k if k <= 10 else 1 + 0.08 * (k - 10)) for k in range(21))
    return Latency(p50=p50, p90=quantiles[18], throughput=1000 / p50, runs=400, quantiles=quantiles)


def form_figures(accuracy: float, deflated: int, p50: float) -> ModelFigures:
    return model_figures(
        accuracy=accuracy,
        accuracy_low=max(0.0, accuracy - 1.5),
        accuracy_high=min(100.0, accuracy + 1.0),
        deflated_bytes=deflated,
        memory_bytes=9_300_000,
        latency_ms={"1": latency(p50), "32": latency(20 * p50)},
    )


def gates(drop: float, ratio: float) -> list[GateResult]:
    return [
        GateResult(name="max_accuracy_drop", wanted=1.0, got=drop, passed=drop <= 1.0),
        GateResult(name="min_speedup", wanted=1.1, got=ratio, passed=ratio >= 1.1),
    ]


def variant(name: str, **changes: Any) -> VariantFigures:
    values: dict[str, Any] = {
        "file": f"model.{name}.onnx",
        "figures": form_figures(98.61, 24_100, 0.034),
        "parity": 0.02,
        "speedup": {"1": Speedup(ratio=1.62, low=1.56, high=1.7)},
        "gates": gates(0.83, 1.62),
    }
    return VariantFigures(**{**values, **changes})


def full_report(**changes: Any) -> Report:
    """Every form: the int8 form ships, fp16 fails a gate, and ort could not be made."""
    slow = {"1": Speedup(ratio=0.78, low=0.75, high=0.82)}
    values: dict[str, Any] = {
        "dense": form_figures(99.44, 281_200, 0.055),
        "pruned": form_figures(98.89, 45_900, 0.056),
        "speedup": {"1": Speedup(ratio=0.98, low=0.95, high=1.03)},
        "gates": gates(0.55, 0.98),
        "layers": [
            LayerFigures(name="conv.weight", shape=(8, 4, 3, 3), sparsity=0.9, macs=3_000),
            LayerFigures(name="fc.weight", shape=(20, 3), sparsity=0.5, macs=1_000),
        ],
        "variants": {
            "sparse": variant("sparse", figures=form_figures(98.89, 44_100, 0.057)),
            "int8": variant("int8", notes=("calibrated on 256 samples",)),
            "fp16": variant(
                "fp16",
                figures=form_figures(98.89, 29_900, 0.071),
                speedup=slow,
                gates=gates(0.55, 0.78),
            ),
            "ort": VariantFigures(file="model.ort", failure="operator Gelu is not known"),
        },
        "pick": "fastest",
        "picked": "int8",
    }
    return make_report(**{**values, **changes})


def prune(step: int, sparsity: float, before: float, after: float, **losses: Any) -> Event:
    values = {"predicted_loss_increase": 0.003, "measured_loss_increase": 1.5, **losses}
    return Event(
        event="prune",
        step=step,
        sparsity=sparsity,
        accuracy_before=before,
        accuracy=after,
        **values,
    )


EVENTS = [
    Event(event="dense", accuracy=99.44),
    prune(1, 0.7, 99.44, 80.25),
    Event(event="epoch", epoch=1, sparsity=0.7, accuracy=98.5),
    prune(2, 0.9, 98.5, 61.5, predicted_loss_increase=None),
    Event(event="epoch", epoch=2, sparsity=0.9, accuracy=98.89),
]
