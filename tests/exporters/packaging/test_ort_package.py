"""Packages that hold a model in ONNX Runtime's own format."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wfpipe.exporters.documents.report import VariantFigures
from wfpipe.exporters.measuring.replay import run_samples
from wfpipe.exporters.packaging.inspection import inspect_file
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.exporters.reading.archive import read_archive, unpack_archive, write_archive
from wfpipe.exporters.reading.package_model import open_packable
from wfpipe.exporters.variants.ort_format import write_ort
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import (
    CLASSES,
    golden_inputs,
    make_report,
    model_figures,
    preprocessing,
    repacked,
    write_model,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ort")
    write_ort(write_model(folder / "model.onnx"), folder / "model.ort", folder / "operators")
    return folder / "model.ort"


@pytest.fixture(scope="module")
def package(model: Path) -> Path:
    form = VariantFigures(
        file="model.ort", figures=model_figures(file_bytes=model.stat().st_size), speedup={}
    )
    report = make_report(variants={"ort": form})
    path = model.parent / "package.zip"
    write_package(path, model=model, golden_inputs=golden_inputs(), report=report, variant="ort")
    return path


def test_the_model_describes_itself_as_its_onnx_file_does(model: Path) -> None:
    ort, onnx = (open_packable(path, "model") for path in (model, model.with_suffix(".onnx")))
    assert (ort.inputs[0], ort.outputs[0], ort.class_names) == (
        onnx.inputs[0],
        onnx.outputs[0],
        CLASSES,
    )
    assert (ort.preprocessing, ort.sparsity, ort.opset) == (preprocessing(), 0.5, None)
    np.testing.assert_allclose(
        run_samples(model, golden_inputs(), "model"),
        run_samples(model.with_suffix(".onnx"), golden_inputs(), "model"),
        rtol=1e-5, atol=1e-6,
    )  # fmt: skip


def test_the_package_holds_it_and_passes(package: Path) -> None:
    members = read_archive(package)
    assert "model.ort" in members
    assert "model.onnx" not in members
    result = verify_package(package)
    assert (result.manifest.variant, result.manifest.versions.opset) == ("ort", None)
    inspected = inspect_file(package)
    assert [layer.name for layer in inspected.layers if layer.weight] == ["fc.weight"]
    assert inspected.packed is not None
    assert inspected.packed.variant == "ort"


def test_its_program_runs_it(package: Path, tmp_path: Path) -> None:
    unpack_archive(package, tmp_path / "unpacked")
    program = tmp_path / "unpacked" / "infer.py"
    done = subprocess.run(
        [sys.executable, str(program), "--self-test"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("self-test passed: 4 golden samples")


@pytest.mark.parametrize("content", [b"", b"hello there", b"\x10\0\0\0ORTM" + b"\xff" * 200])
def test_what_is_no_such_model_is_refused(package: Path, tmp_path: Path, content: bytes) -> None:
    members = repacked({**read_archive(package), "model.ort": content})
    write_archive(tmp_path / "bad.zip", members)
    with pytest.raises(InputError, match=r"model\.ort"):
        verify_package(tmp_path / "bad.zip")


def test_metadata_that_is_no_text_is_refused(model: Path, tmp_path: Path) -> None:
    content = model.read_bytes()
    assert b'"cat"' in content
    (tmp_path / "bad.ort").write_bytes(content.replace(b'"cat"', b'"\xff\xfe\xfd"'))
    with pytest.raises(InputError, match="not UTF-8"):
        open_packable(tmp_path / "bad.ort", "model")


def test_a_cut_model_is_refused(package: Path, tmp_path: Path) -> None:
    members = read_archive(package)
    for size in range(8, len(members["model.ort"]), 97):
        cut = repacked({**members, "model.ort": members["model.ort"][:size]})
        write_archive(tmp_path / "bad.zip", cut)
        with pytest.raises(InputError, match=r"model\.ort"):
            verify_package(tmp_path / "bad.zip")


@pytest.mark.parametrize("variant", ["plain", "int8"])
def test_a_file_of_another_form_is_refused(model: Path, tmp_path: Path, variant: str) -> None:
    with pytest.raises(InputError, match=f"is not a file of the form '{variant}'"):
        write_package(
            tmp_path / "a.zip", model=model, golden_inputs=golden_inputs(), report=None,
            variant=variant,
        )  # fmt: skip


def test_a_form_that_the_report_does_not_know_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no figures of the form 'ort'"):
        write_package(
            tmp_path / "a.zip", model=model, golden_inputs=golden_inputs(), report=make_report(),
            variant="ort",
        )  # fmt: skip
