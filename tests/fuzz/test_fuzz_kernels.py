from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnxruntime as ort
import pytest

from wfpipe.exporters.reading.package_model import parse_model
from wfpipe.tests.exporters.kernel_samples import kernel_models
from wfpipe.tests.exporters.runtime.library import COMPILER, kernels
from wfpipe.tests.fuzz import fuzz_kernels

SCRIPT = Path(fuzz_kernels.__file__)


def test_the_models_that_are_mutated_are_good() -> None:
    library = kernels()
    for content in kernel_models():
        parse_model(content, "model")
        assert fuzz_kernels.open_session(content, library).get_outputs()
        assert fuzz_kernels.run(content, library) is None


def test_a_model_is_made_from_the_seed_and_its_number_alone() -> None:
    assert fuzz_kernels.make(3, 5) == fuzz_kernels.make(3, 5)
    assert len({fuzz_kernels.make(3, number) for number in range(20)}) > 15


def test_mutated_models_are_run_or_refused(tmp_path: Path) -> None:
    """With the library as it ships: compiling one with sanitizers takes minutes."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", "300", "--failures", str(tmp_path / "failures"),
         "--library", str(kernels())],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "figure: 0", done.stdout + done.stderr
    assert not (tmp_path / "failures").exists()


@pytest.mark.skipif(shutil.which(COMPILER[0]) is None, reason=f"no {COMPILER[0]}")
def test_a_report_of_a_sanitizer_is_a_failure(tmp_path: Path) -> None:
    """A library that writes behind what it allocates, in the place of the kernels."""
    source = tmp_path / "bad.c"
    source.write_text(
        "#include <stdlib.h>\n"
        "void* RegisterCustomOps(void* options, const void* base) {\n"
        "  volatile char* bytes = malloc(8); bytes[8] = 1; return 0;\n}\n"
    )
    library = tmp_path / "bad.so"
    compiler = [*COMPILER, "-x", "c", "-shared", "-fPIC", "-fsanitize=address"]
    subprocess.run([*compiler, str(source), "-o", str(library)], check=True)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--count", "1", "--library", str(library), "--failures",
         str(tmp_path / "failures")],
        capture_output=True, text=True, check=False, timeout=900, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 1
    assert "heap-buffer-overflow" in done.stdout, done.stdout + done.stderr
    assert [path.suffix for path in (tmp_path / "failures").iterdir()] == [".onnx"]


def test_what_the_checks_let_pass_and_the_kernels_refuse_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzz_kernels, "parse_model", lambda content, what: None)
    content = next(
        made
        for made in (fuzz_kernels.make(3, number) for number in range(1000))
        if _refused_by_kernels(made)
    )
    assert "the checks let pass" in str(fuzz_kernels.run(content, kernels()))


def _refused_by_kernels(content: bytes) -> bool:
    try:
        fuzz_kernels.open_session(content, kernels())
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        return "a column lies outside" in str(error)
    return False


def test_every_tensor_is_an_allocation_of_its_own() -> None:
    session = fuzz_kernels.open_session(kernel_models()[0], kernels())
    options = session.get_session_options()
    assert not options.enable_cpu_mem_arena
    assert not options.enable_mem_pattern
    assert options.graph_optimization_level == ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
