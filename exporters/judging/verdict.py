"""What pruning gained and what it cost, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from ..documents.report import ModelFigures, Speedup
from ..documents.units import format_bytes
from ..measuring.session import ON_GPU


def verdict(
    pruned: ModelFigures, dense: ModelFigures, speedups: Mapping[str, Speedup], provider: str
) -> str:
    """Say what was gained in size, what it cost in accuracy, and whether it is faster.

    Of the plain file; :mod:`exporters.judging.variant_verdict` has the other forms.

    Where the 95 % interval of the speed ratio does not lie above 1 at every batch size, it says
    so, why, and what would make the model faster.

    Args:
        pruned: figures of the pruned file.
        dense: figures of the file that it is compared against.
        speedups: dense p50 / pruned p50 by batch size.
        provider: the execution provider that ONNX Runtime used.
    """
    parts = [_size(pruned, dense), _score(pruned, dense)]
    faster = [size for size, ratio in speedups.items() if ratio.low > 1]
    slower = [size for size, ratio in speedups.items() if ratio.high < 1]
    same = [size for size in speedups if size not in faster and size not in slower]
    if faster:
        parts.append(f"It is faster: {_ratios(speedups, faster)}.")
    if same:
        parts.append(
            f"Pruning did not make it faster in this runtime: {_ratios(speedups, same)}, "
            "where 1 means equal."
        )
    if slower:
        parts.append(f"It is slower in this runtime: {_ratios(speedups, slower)}.")
    if same or slower:
        parts.append(_advice(provider))
    return " ".join(part for part in parts if part)


def _size(pruned: ModelFigures, dense: ModelFigures) -> str:
    ratio = dense.deflated_bytes / pruned.deflated_bytes
    change = f"{ratio:.2f} times smaller" if ratio >= 1.005 else "no smaller"
    as_large = 0.98 < pruned.file_bytes / dense.file_bytes < 1.02
    why = ", as ONNX stores zeros like other numbers" if as_large else ""
    return (
        f"Compressed, the pruned model is {change} ({format_bytes(pruned.deflated_bytes)} against "
        f"{format_bytes(dense.deflated_bytes)}); uncompressed it takes "
        f"{format_bytes(pruned.file_bytes)} against {format_bytes(dense.file_bytes)}{why}."
    )


def _score(pruned: ModelFigures, dense: ModelFigures) -> str:
    now, then = pruned.score, dense.score
    if now is None or then is None:
        return ""
    name = pruned.title[0].upper() + pruned.title[1:]
    if now.same(then):
        return f"{name} is {now.text()}, that of the dense model."
    word = "above" if now.value > then.value else "below"
    shown = ", and the 95 % intervals overlap" if now.overlaps(then) else ""
    return f"{name} is {now.text()}, {now.gap(then)} {word} the dense model's {then.text()}{shown}."


def _ratios(speedups: Mapping[str, Speedup], sizes: list[str]) -> str:
    shown = (
        f"at batch {size} dense / pruned is {speedups[size].ratio:.3f} "
        f"(95 % interval {speedups[size].low:.3f} to {speedups[size].high:.3f})"
        for size in sizes
    )
    return ", ".join(shown)


def _advice(provider: str) -> str:
    if provider in ON_GPU:
        return (
            "ONNX Runtime's GPU kernels are dense: they multiply by zeros as by any number, so "
            "zeros at any place gain size and not time. What can be faster, on hardware made for "
            "it: whole channels removed, 2:4 sparsity with TensorRT's sparse kernels, int8 "
            "quantisation; on a CPU, the form sparse-cpu."
        )
    return (
        "ONNX Runtime's CPU kernels are dense: they multiply by zeros as by any number, so zeros "
        "at any place gain size and not time. What can be faster: the form sparse-cpu, which runs "
        "on sparse kernels (--variants sparse-cpu), int8 quantisation, whole channels removed, or "
        "2:4 sparsity with TensorRT's sparse kernels."
    )
