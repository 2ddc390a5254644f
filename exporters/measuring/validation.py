"""Measure the forms of a pruned model beside the dense one, in the runtime that they ship to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import CheckFailed, InputError
from ...support.nests import Nest, cut, taken, tensors
from ...support.nests import samples as count
from ...support.progress import Reporter
from ..documents.report import ModelFigures, Speedup, VariantFigures
from ..documents.score import ACCURACY, Score
from ..documents.statistics import speedup, summarise
from .accuracy import Accuracy, Batch, Meter, scores
from .denormals import flushing
from .inference import predict
from .latency import Times, measure_in_sittings, plan_sittings
from .lengths import of_length
from .peak_memory import peak_memory
from .session import SessionSettings, open_session
from .sizes import deflated_bytes, file_bytes, load_ms, nonzeros

Array = np.ndarray[Any, Any]
Batches = Callable[[], Iterable[Batch]]
Scores = Mapping[str, Score]

_CHUNK = 64
_REQUIRED = ("pruned", "dense")


@dataclass(frozen=True)
class Form:
    """A file to measure beside the plain one, made from it.

    ``tolerance`` is the largest difference of outputs to the plain file's, relative to their
    largest; 0 asks for the same bits, None for nothing.
    """

    path: Path
    tolerance: float | None = None


@dataclass(frozen=True)
class Measured:
    """What was measured; a form that failed has its reason and no figures."""

    dense: ModelFigures
    pruned: ModelFigures
    speedup: dict[str, Speedup]
    variants: dict[str, VariantFigures]


def validate_files(
    pruned: Path,
    dense: Path,
    variants: Mapping[str, Form] | None = None,
    *,
    batches: Batches,
    test_samples: int,
    samples: Nest,
    settings: SessionSettings,
    batch_sizes: Sequence[int],
    runs: int,
    seed: int,
    reporter: Reporter,
    meter: Callable[[], Meter] = Accuracy,
    lengths: Sequence[int] = (),
) -> Measured:
    """Measure size, load time, memory, accuracy and latency of all files with the same inputs.

    Args:
        pruned: the plain file of the pruned model.
        dense: the file that all are compared against.
        variants: other forms of the pruned model, by name; one that fails stops nothing.
        batches: makes a new pass over the test split: prepared inputs and targets.
        test_samples: samples in a pass, for the progress shown.
        samples: prepared inputs that latency and parity are measured on, an array (n, *shape) or
            a nest of arrays.
        settings: how the sessions are opened.
        batch_sizes: the sizes that latency is measured at.
        runs: timed runs of each model at each size.
        seed: fixes the samples timed and the bootstrap.
        reporter: where progress goes.
        meter: makes what measures the metrics of a file.
        lengths: of sequences that latency is measured at too, at the first batch size.

    Raises:
        InputError: when the plain or the dense file cannot be run so.
    """
    forms = dict(variants or {})
    paths = {"pruned": pruned, "dense": dense} | {name: form.path for name, form in forms.items()}
    sizes = list(dict.fromkeys(batch_sizes))
    bench = _Bench(paths, forms, settings, sizes, samples, reporter, {})
    bench.open_required()
    with flushing(settings.flush_denormals):
        parity = bench.parity()
        reached = bench.scores(batches, test_samples, meter)
        times = bench.times(reached, samples, sizes, runs, seed)
        by_length = {n: bench.times_at(n, reached, runs, seed) for n in dict.fromkeys(lengths)}
    figures = bench.figures(reached, times, by_length)
    return bench.measured(figures, parity, times, seed)


@dataclass(frozen=True)
class _Bench:
    """The files under measurement; what fails of a variant is noted in ``failures``."""

    paths: Mapping[str, Path]
    forms: Mapping[str, Form]
    settings: SessionSettings
    sizes: Sequence[int]
    samples: Nest
    reporter: Reporter
    failures: dict[str, str]

    def open(self, name: str) -> ort.InferenceSession:
        return open_session(self.paths[name], self.settings)

    def open_required(self) -> None:
        """Find that the plain or the dense file cannot be opened, before anything is measured."""
        for name in _REQUIRED:
            self.open(name)

    def parity(self) -> dict[str, float]:
        """Run each variant at every batch size, and compare its outputs with the plain file's."""
        if not self.forms:
            return {}
        expected = self._outputs(self.open("pruned"))
        found = {}
        for name, form in self.forms.items():
            with self._noting(name):
                session = self.open(name)
                for size in self.sizes:
                    predict(session, self._batch(size))
                found[name] = max(
                    _difference(got, wanted, form)
                    for got, wanted in zip(self._outputs(session), expected, strict=True)
                )
        return found

    def scores(self, batches: Batches, total: int, meter: Callable[[], Meter]) -> dict[str, Scores]:
        """Return the metrics of each file that works."""
        reached: dict[str, Scores] = {}
        for name, path in self.paths.items():
            if name not in self.failures:
                with (
                    self._noting(name),
                    self.reporter.task(f"metrics of {path.name}", total, "sample") as task,
                ):
                    reached[name] = scores(self.open(name), batches(), meter(), task.advance)
        return reached

    def times(
        self, names: Iterable[str], samples: Nest, sizes: Sequence[int], runs: int, seed: int
    ) -> Times:
        """Time files in alternation."""
        openers = {name: partial(self.open, name) for name in names}
        rounds = prod(plan_sittings(len(openers), runs)) * len(sizes)
        with self.reporter.task("latency, in alternation", rounds, "round") as task:
            return measure_in_sittings(
                openers, samples, batch_sizes=sizes, runs=runs, seed=seed, on_round=task.advance
            )

    def times_at(self, length: int, names: Iterable[str], runs: int, seed: int) -> Times:
        """Time files at the first batch size with sequences of a length."""
        samples = of_length(self.open("dense"), self.samples, length)
        return self.times(names, samples, self.sizes[:1], runs, seed)

    def measured(
        self,
        figures: Mapping[str, ModelFigures],
        parity: Mapping[str, float],
        times: Times,
        seed: int,
    ) -> Measured:
        """Put together what was measured of the files, with their speeds over dense."""
        ratios = {
            name: {str(n): speedup(times["dense"][n], by_size[n], seed) for n in self.sizes}
            for name, by_size in times.items()
            if name != "dense"
        }
        results = {}
        for name, form in self.forms.items():
            found: dict[str, Any] = {"failure": self.failures.get(name)}
            if name not in self.failures:
                found |= {"figures": figures[name], "parity": parity[name], "speedup": ratios[name]}
            results[name] = VariantFigures(file=form.path.name, **found)
        return Measured(figures["dense"], figures["pruned"], ratios["pruned"], results)

    def figures(
        self, reached: Mapping[str, Scores], times: Times, by_length: Mapping[int, Times]
    ) -> dict[str, ModelFigures]:
        """Measure what is left, and put the figures of each file together."""
        figures = {}
        with self.reporter.task("size, load time and memory", len(reached), "file") as task:
            deflated, memory = self._deflated_and_memory(reached)
            for name in memory:
                path, measured = self.paths[name], reached[name]
                accuracy = measured.get(ACCURACY)
                with self._noting(name):
                    figures[name] = ModelFigures(
                        accuracy=accuracy and accuracy.value,
                        accuracy_low=accuracy and accuracy.low,
                        accuracy_high=accuracy and accuracy.high,
                        metrics=dict(measured),
                        file_bytes=file_bytes(path),
                        deflated_bytes=deflated[name],
                        nonzeros=nonzeros(path),
                        load_ms=load_ms(path, self.settings),
                        memory_bytes=memory[name],
                        latency_ms={
                            str(size): summarise(runs, size) for size, runs in times[name].items()
                        },
                        latency_by_length={
                            str(length): summarise(runs, size)
                            for length, found in by_length.items()
                            for size, runs in found[name].items()
                        },
                    )
                task.advance()
        return figures

    def _deflated_and_memory(
        self, names: Mapping[str, Scores]
    ) -> tuple[dict[str, int], dict[str, int | None]]:
        """Compress the files while processes of their own take the memory; no time is measured."""
        memory = {}
        with ThreadPoolExecutor(1) as beside:
            sizes = {name: beside.submit(deflated_bytes, self.paths[name]) for name in names}
            for name in names:
                with self._noting(name):
                    memory[name] = peak_memory(
                        self.paths[name], self.settings, self._batch(self.sizes[0])
                    )
        return {name: size.result() for name, size in sizes.items()}, memory

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Note what fails of a variant and go on; a failure of the other two goes further."""
        try:
            yield
        except (InputError, CheckFailed) as error:
            if name in _REQUIRED:
                raise
            self.failures[name] = str(error)

    def _batch(self, size: int) -> Nest:
        return taken(self.samples, np.arange(size) % count(self.samples))

    def _outputs(self, session: ort.InferenceSession) -> list[Array]:
        chunks = [tensors(predict(session, chunk)) for chunk in cut(self.samples, _CHUNK)]
        return [np.concatenate(rows).astype(np.float64) for rows in zip(*chunks, strict=True)]


def _difference(got: Array, expected: Array, form: Form) -> float:
    """Return the largest difference to the plain file's outputs, relative to their largest.

    Raises:
        CheckFailed: when it is not a number, or over the form's tolerance.
    """
    name = form.path.name
    if got.shape != expected.shape:
        raise CheckFailed(f"{name} returns {got.shape} outputs, the plain file {expected.shape}")
    largest = float(np.abs(got - expected).max())
    relative = largest / (float(np.abs(expected).max()) or 1.0)
    if not np.isfinite(relative):
        raise CheckFailed(f"{name} gives outputs that are not finite")
    if form.tolerance is not None and relative > form.tolerance:
        raise CheckFailed(
            f"{name} differs from the plain file by {relative:.3g} of its largest output: "
            f"at most {form.tolerance:g} is allowed"
        )
    return relative
