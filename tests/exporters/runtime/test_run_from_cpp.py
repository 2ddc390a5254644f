"""The C++ program of docs/run-sparse-cpu.md runs a model on the kernels as wfpipe does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from wfpipe.exporters.measuring.kernels_library import library_path, why_missing
from wfpipe.exporters.measuring.replay import run_samples
from wfpipe.tests.exporters.package_samples import golden_inputs, write_model
from wfpipe.tests.exporters.sparse_samples import sparse_model

PAGE = Path(__file__).parents[3] / "docs" / "run-sparse-cpu.md"
RUNTIMES = sorted((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.1*"))

pytestmark = [
    pytest.mark.skipif(library_path() is None, reason=why_missing()),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no g++"),
    pytest.mark.skipif(not RUNTIMES, reason="this onnxruntime comes without libonnxruntime.so"),
]


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "run.cpp").write_text(block("cpp"))
    (folder / "libonnxruntime.so.1").symlink_to(RUNTIMES[0])  # as the program asks for it
    command = ["g++", "-Wall", "-Wextra", "-Werror", "run.cpp", "-I", str(Path(__file__).parent)]
    subprocess.run([*command, str(RUNTIMES[0]), "-o", "run"], cwd=folder, check=True)
    return folder / "run"


def run(program: Path, *arguments: object, sample: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [program, *map(str, arguments)], input=sample, capture_output=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": str(program.parent)},
    )  # fmt: skip


def test_its_outputs_are_those_of_wfpipe(program: Path, tmp_path: Path) -> None:
    model, (sample,) = write_model(tmp_path / "model.onnx", sparse_model()), golden_inputs(1)
    done = run(program, model, library_path(), 1, *sample.shape, sample=sample.tobytes())
    assert (done.returncode, done.stderr) == (0, b"")
    ((wanted,),) = run_samples(model, sample[None], "model")
    np.testing.assert_allclose(np.array(done.stdout.split(), np.float32), wanted, rtol=1e-6)


def test_a_library_that_is_none_is_a_message(program: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx", sparse_model())
    done = run(program, model, tmp_path / "none.so", 1, 1, 4, 5, sample=bytes(80))
    assert done.returncode == 2
    assert b"none.so" in done.stderr


def test_the_lines_of_python_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = library_path()
    assert library is not None
    write_model(tmp_path / "model.onnx", sparse_model())
    lines = re.sub(r'"kernels/[^"]*"', repr(str(library)), block("python"))
    monkeypatch.chdir(tmp_path)
    names = {"batch": golden_inputs(3)}
    exec(lines, names)  # the page's own text
    (wanted,) = run_samples(tmp_path / "model.onnx", golden_inputs(3), "model")
    np.testing.assert_allclose(names["logits"], wanted, rtol=1e-5, atol=1e-6)
