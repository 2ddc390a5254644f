from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from wfpipe.exporters.documents.manifest import PackedFigures
from wfpipe.exporters.documents.report import read_report
from wfpipe.exporters.measuring.replay import run_samples
from wfpipe.exporters.packaging import infer
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.reading.archive import read_archive
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import (
    CLASSES,
    Array,
    golden_inputs,
    linear_model,
    make_report,
    manifest_of,
    metadata,
    model_figures,
    preprocessing,
    write_model,
)
from wfpipe.tests.refusal import refusal_of


def pack(folder: Path, model: onnx.ModelProto | None = None, **changes: Any) -> dict[str, bytes]:
    source = write_model(folder / "source.onnx", model)
    arguments: dict[str, Any] = {"golden_inputs": golden_inputs(), "report": None, **changes}
    write_package(folder / "package.zip", model=source, **arguments)
    return read_archive(folder / "package.zip")


def refused(folder: Path, model: onnx.ModelProto | None = None, **changes: Any) -> str:
    message = refusal_of(lambda: pack(folder, model, **changes))
    assert not (folder / "package.zip").exists()
    return message


def test_a_package_holds_what_it_should_and_no_more(tmp_path: Path) -> None:
    members = pack(tmp_path)
    assert sorted(members) == [
        "MODEL_CARD.md", "golden/inputs.npy", "golden/outputs.npy", "infer.py", "manifest.json",
        "model.onnx",
    ]  # fmt: skip
    assert members["model.onnx"] == (tmp_path / "source.onnx").read_bytes()
    assert members["infer.py"] == Path(infer.__file__).read_bytes()


def test_the_manifest_has_the_digest_and_size_of_every_other_file(tmp_path: Path) -> None:
    members = pack(tmp_path)
    files = manifest_of(members).files
    assert files.keys() == members.keys() - {"manifest.json"}
    for name, file in files.items():
        assert file.sha256 == hashlib.sha256(members[name]).hexdigest()
        assert file.bytes == len(members[name])


def test_the_manifest_describes_the_model_in_its_own_words(tmp_path: Path) -> None:
    manifest = manifest_of(pack(tmp_path))
    assert [spec.name for spec in manifest.inputs] == ["input"]
    assert manifest.outputs[0].shape == ("batch", 3)
    assert manifest.preprocessing == preprocessing()
    assert manifest.class_names == CLASSES
    assert manifest.sparsity == 0.5
    assert manifest.versions.opset == 20


def test_a_model_of_another_tool_can_be_packed(tmp_path: Path) -> None:
    manifest = manifest_of(pack(tmp_path, linear_model(props={})))
    assert (manifest.preprocessing, manifest.class_names, manifest.figures) == (None, None, None)


def test_the_golden_outputs_are_those_of_the_model(tmp_path: Path) -> None:
    members = pack(tmp_path)
    inputs, outputs = (
        np.load(io.BytesIO(members[f"golden/{name}.npy"])) for name in ("inputs", "outputs")
    )
    np.testing.assert_array_equal(inputs, golden_inputs())
    np.testing.assert_array_equal(outputs, run_samples(members["model.onnx"], inputs, "model")[0])


def test_golden_inputs_in_any_memory_order_give_the_same_package(tmp_path: Path) -> None:
    plain = pack(tmp_path)
    assert pack(tmp_path, golden_inputs=np.asfortranarray(golden_inputs())) == plain


def test_the_figures_of_the_report_are_in_the_manifest(tmp_path: Path) -> None:
    size = write_model(tmp_path / "source.onnx").stat().st_size
    report = make_report(pruned=model_figures(file_bytes=size))
    manifest = manifest_of(pack(tmp_path, report=report))
    assert manifest.figures == PackedFigures.of(report)
    assert manifest.figures.pruned.file_bytes == size


def test_the_report_of_another_file_is_refused(tmp_path: Path) -> None:
    words = refused(tmp_path, report=make_report(pruned=model_figures(file_bytes=7)))
    assert "the report is of a file of 7 bytes" in words


PROGRAM = """
import os, sys, time
from pathlib import Path
from wfpipe.tests.exporters.packaging.test_package import pack_run
os.umask(0o77)
time.tzset()
pack_run(Path(sys.argv[1]))
"""


def make_run(folder: Path, time: int) -> Path:
    folder.mkdir(parents=True)
    size = write_model(folder / "model.onnx").stat().st_size
    os.utime(folder / "model.onnx", (time, time))
    np.save(folder / "golden.npy", golden_inputs())
    write_report(folder, make_report(pruned=model_figures(file_bytes=size)))
    return folder


def pack_run(run: Path) -> None:
    write_package(
        run / "package.zip",
        model=run / "model.onnx",
        golden_inputs=np.load(run / "golden.npy"),
        report=read_report(run / "report.json"),
    )


def test_the_same_run_gives_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """Packed here, and by a program of another umask, time zone, locale, folder and hash seed."""
    here = make_run(tmp_path / "run", time=0)
    pack_run(here)
    elsewhere = make_run(tmp_path / "other" / "deeper", time=10**9)
    unlike = {
        "TZ": "Pacific/Kiritimati",
        "LC_ALL": "tr_TR.UTF-8",
        "PYTHONHASHSEED": "1",
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run(
        [sys.executable, "-c", PROGRAM, str(elsewhere)],
        cwd=elsewhere,
        env={**os.environ, **unlike},
        check=True,
    )
    assert (here / "package.zip").read_bytes() == (elsewhere / "package.zip").read_bytes()


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (golden_inputs(0), "must be 1 to 1024, got 0"),
        (np.zeros((2000, 1, 4, 5), np.float32), "must be 1 to 1024, got 2000"),
        (golden_inputs().astype(np.float64), "must be float32 and finite"),
        (np.full((1, 1, 4, 5), np.nan, np.float32), "must be float32 and finite"),
        (np.zeros((2, 1, 4, 6), np.float32), "takes samples of shape (1, 4, 5)"),
        (np.zeros((2, 20), np.float32), "takes samples of shape (1, 4, 5)"),
    ],
)
def test_golden_inputs_that_do_not_fit_are_refused(
    tmp_path: Path, samples: Array, words: str
) -> None:
    assert words in refused(tmp_path, golden_inputs=samples)


def test_a_shape_in_the_metadata_that_is_not_the_inputs_is_refused(tmp_path: Path) -> None:
    proto = linear_model()
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    proto.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    words = refused(tmp_path, proto, golden_inputs=np.zeros((1, 1, 5, 4), np.float32))
    assert "says in its metadata" in words


def test_class_names_that_do_not_fit_the_outputs_are_refused(tmp_path: Path) -> None:
    props = {**metadata(preprocessing()), "wfpipe.class_names": json.dumps(["cat", "dog"])}
    assert "has 2 class names" in refused(tmp_path, linear_model(props=props))


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    proto = linear_model()
    proto.graph.node.append(helper.make_node("Log", ["logits"], ["log"]))
    proto.graph.output[0].name = "log"
    assert "outputs that are not finite" in refused(tmp_path, proto)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model '.*none.onnx' does not exist"):
        write_package(
            tmp_path / "a.zip",
            model=tmp_path / "none.onnx",
            golden_inputs=golden_inputs(),
            report=None,
        )
