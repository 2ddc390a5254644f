"""What is fuzzed: for each target, how an input is made, and which part of the program reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest.mock import patch

import numpy as np

from wfpipe.cli.main import main
from wfpipe.exporters.documents.report import read_report
from wfpipe.exporters.judging.baseline import Candidate, Planned, Tolerances
from wfpipe.exporters.judging.report_baseline import read_report_baseline
from wfpipe.exporters.measuring.accuracy import Accuracy, scores
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.measuring.sizes import nonzeros
from wfpipe.exporters.onnx.zeros import layer_figures
from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.exporters.reading.onnx_graph import read_model, weights
from wfpipe.exporters.reading.onnx_outline import parse_outline
from wfpipe.exporters.reading.onnx_wire import memory_limit
from wfpipe.exporters.reading.package_model import parse_model
from wfpipe.exporters.reporting.comparison import render_comparison
from wfpipe.exporters.reporting.html import render
from wfpipe.exporters.reporting.junit import junit_xml
from wfpipe.exporters.reporting.markdown import markdown
from wfpipe.models.registry import load_weights
from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.state import check_state, load_state
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent
from wfpipe.tests.exporters.kernel_samples import kernel_models
from wfpipe.tests.exporters.package_samples import repacked

from . import samples
from .mutate_arrays import mutate_checkpoint, mutate_npy, mutate_npz
from .mutate_bytes import mutate_bytes, mutate_flatbuffer
from .mutate_kernels import mutate_kernel_model
from .mutate_proto import mutate_model
from .mutate_values import mutate_json, mutate_safetensors, mutate_yaml
from .mutate_zip import mutate_zip, rebuild
from .sandbox import MEMORY_BYTES

MANIFEST, MODEL = "manifest.json", "model.onnx"
NOISE_BYTES = 32 << 20  # by which the memory of a process varies
PLANNED = Planned(360, "a" * 64, [(20, 3)], True, SessionSettings("cpu", 1), 1)


@dataclass(frozen=True)
class Target:
    """A kind of file and what reads it.

    ``make`` returns a mutated file; ``read`` reads it from a path, raising InputError, CheckFailed
    or SystemExit where it is refused. ``share`` is its weight among the targets. ``runs``: the
    model in it is run, and takes the memory that its operators ask for. ``stated``: reading it may
    take the memory that the documentation states.
    """

    suffix: str
    make: Callable[[Random], bytes]
    read: Callable[[Path], None]
    share: int
    runs: bool = False
    stated: bool = False

    def allowed(self, size: int) -> int | None:
        """Return the bytes of memory that reading a file of ``size`` bytes may add; None: any."""
        if self.runs:
            return None
        return memory_limit(size) + NOISE_BYTES if self.stated else MEMORY_BYTES


def build_targets() -> dict[str, Target]:
    """Return the targets by name; building them makes the good files that are mutated."""
    models, members, ort_models = samples.models(), samples.package(), samples.ort_models()
    arrays, checkpoints = samples.arrays(), samples.checkpoints()
    tensors, recipes, report = samples.safetensors_files(), samples.recipes(), samples.report()
    package = rebuild(members, Random(0))
    state = samples.run_state()

    def model(rng: Random) -> bytes:
        return mutate_model(rng.choice(models), rng)

    def kernel_model(rng: Random) -> bytes:
        return mutate_kernel_model(rng.choice(kernel_models()), rng)

    def ort_model(rng: Random) -> bytes:
        return mutate_flatbuffer(rng.choice(ort_models), rng)

    def checkpoint(rng: Random) -> bytes:
        return mutate_checkpoint(rng.choice(checkpoints), rng)

    def tensors_file(rng: Random) -> bytes:
        return mutate_safetensors(rng.choice(tensors), rng)

    def packed(rng: Random) -> bytes:
        return _mutate_package(members, models, rng)

    return {
        "onnx": Target("onnx", model, _command("inspect"), 20, stated=True),
        "session": Target("onnx", model, _session, 14, runs=True),
        "kernels": Target("onnx", kernel_model, _kernels, 5, stated=True),
        "kernels-inspect": Target("onnx", kernel_model, _command("inspect"), 5, stated=True),
        "ort": Target("ort", ort_model, _command("inspect"), 10, stated=True),
        "ort-session": Target("ort", ort_model, _session, 5, runs=True),
        "package": Target("zip", packed, _command("verify"), 20, runs=True),
        "archive": Target(
            "zip", lambda rng: mutate_zip(package, rng), _command("verify"), 10, runs=True
        ),
        "package-inspect": Target("zip", packed, _command("inspect"), 8),
        "unpack": Target("zip", lambda rng: mutate_zip(package, rng), _unpack, 3),
        "recipe": Target(
            "yaml", lambda rng: mutate_yaml(rng.choice(recipes), rng), _command("recipe"), 10
        ),
        "report": Target("json", lambda rng: mutate_json(report, rng), _report, 6),
        "npz": Target("npz", lambda rng: mutate_npz(rng.choice(arrays), rng), _arrays, 14),
        "checkpoint": Target("pth", checkpoint, _weights, 14),
        "tar": Target("tar", checkpoint, _weights, 4),
        "run-state": Target("pt", lambda rng: mutate_checkpoint(state, rng), _state, 6),
        "safetensors": Target("safetensors", tensors_file, _command("inspect"), 8),
        "weights": Target("safetensors", tensors_file, _weights, 6),
    }


def _mutate_package(members: dict[str, bytes], models: list[bytes], rng: Random) -> bytes:
    """Change one member of a package, mostly with digests that fit it."""
    changed = dict(members)
    kind = rng.random()
    if kind < 0.3:
        changed[MANIFEST] = mutate_json(members[MANIFEST], rng)
        return rebuild(changed, rng)
    if kind < 0.75:
        changed[MODEL] = mutate_model(rng.choice(models), rng)
    elif kind < 0.95:
        name = f"golden/{rng.choice(('inputs', 'outputs'))}.npy"
        changed[name] = mutate_npy(members[name], rng)
    else:
        name = rng.choice(sorted(set(members) - {MANIFEST}))
        changed[name] = mutate_bytes(members[name], rng)
    return rebuild(repacked(changed) if rng.random() < 0.9 else changed, rng)


def _command(name: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        main([name, str(path)])

    return read


def _session(path: Path) -> None:
    """Read a model as ``validate`` does, and run it on a few samples."""
    read_model(path)
    session = open_session(path, SessionSettings("cpu", 1))
    inputs = samples.golden()
    scores(session, [(inputs, np.arange(len(inputs)) % samples.CLASSES)], Accuracy())
    nonzeros(path)
    layer_figures(path)


def _kernels(path: Path) -> None:
    """Read a model whole and in outline, which must agree, and write its layers out."""
    content = path.read_bytes()
    refused = None
    try:
        weights(parse_model(content, "model"))
    except InputError as error:
        refused = error
    try:
        with patch("wfpipe.exporters.reading.onnx_outline.LARGE_BYTES", 8):
            parse_outline(content, "model")
    except InputError as error:
        if refused is None:
            raise AssertionError(f"refused in outline alone: {error}") from None
        raise
    if refused is not None:
        raise AssertionError(f"accepted in outline: {refused}")


def _unpack(path: Path) -> None:
    folder = path.with_name("unpacked")
    shutil.rmtree(folder, ignore_errors=True)
    unpack_archive(path, folder)


def _report(path: Path) -> None:
    """Read a report as all commands do that take one: for pages, Markdown, JUnit, a baseline."""
    report = read_report(path)
    render(report)
    render_comparison([("one", report), ("two", report)])
    markdown("validate", report)
    junit_xml("validate", report)
    candidate = Candidate(PLANNED, report.pruned, report.speedup)
    read_report_baseline(path).gates(candidate, Tolerances(0.5, 0.1, 0.05))


def _arrays(path: Path) -> None:
    recipe = resolve({"data": {"source": str(path), "augment": "none"}})
    data = open_data(recipe.data, seed=0, reporter=Silent())
    next(iter(data.test_batches(batch=4)))


def _weights(path: Path) -> None:
    load_weights(samples.network(), path)


def _state(path: Path) -> None:
    module = samples.network()
    check_state(load_state(path), path, module, dict(module.named_parameters()), 4)
