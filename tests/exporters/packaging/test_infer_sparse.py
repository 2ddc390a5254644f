"""infer.py with a model that runs on sparse kernels."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wfpipe.exporters.measuring import platforms
from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path, why_missing
from wfpipe.exporters.measuring.platforms import platform_name
from wfpipe.exporters.packaging import infer
from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.tests.exporters.package_samples import make_package
from wfpipe.tests.exporters.packaging.test_infer import call, classes, refused
from wfpipe.tests.exporters.sparse_samples import make_sparse_package

needs_kernels = pytest.mark.skipif(library_path() is None, reason=why_missing())


@pytest.fixture
def package(tmp_path: Path) -> Path:
    unpack_archive(make_sparse_package(tmp_path), tmp_path / "unpacked")
    return tmp_path / "unpacked"


def library(package: Path) -> Path:
    (found,) = (package / "kernels" / platform_name()).iterdir()
    return found


def path_here() -> str:
    installed = library_path()
    assert installed is not None
    return f"{kernel_path(installed)} ({platform_name()})"


@needs_kernels
def test_the_self_test_says_which_path_runs(package: Path) -> None:
    done = call(package, "--self-test")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("self-test passed: 4 golden samples, ")
    assert done.stdout.endswith(f"; sparse kernels: {path_here()}\n")


@needs_kernels
def test_it_says_so_on_request_and_gives_the_classes_of_the_dense_model(
    package: Path, tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    unpack_archive(make_package(tmp_path / "plain"), tmp_path / "plain" / "unpacked")
    samples = package / "golden" / "inputs.npy"
    done = call(package, "--verbose", "--json", samples)
    assert (done.returncode, done.stderr) == (0, f"infer.py: sparse kernels: {path_here()}\n")
    for ours, dense in zip(
        json.loads(done.stdout), classes(tmp_path / "plain" / "unpacked", samples), strict=True
    ):
        got, wanted = (
            [each["probability"] for each in result["classes"]] for result in (ours, dense)
        )
        np.testing.assert_allclose(got, wanted, rtol=1e-4)


@needs_kernels
@pytest.mark.skipif("x86_64" not in platform_name(), reason="other processors have one path")
def test_another_path_of_the_processor_can_be_asked_for(package: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(package / "infer.py"), "--self-test"],
        env={**os.environ, "WFPIPE_KERNELS": "baseline"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert f"sparse kernels: baseline ({platform_name()})" in done.stdout


def test_a_model_without_kernels_says_that(tmp_path: Path) -> None:
    unpack_archive(make_package(tmp_path), tmp_path / "unpacked")
    done = call(tmp_path / "unpacked", "--verbose", tmp_path / "unpacked" / "golden" / "inputs.npy")
    assert (done.returncode, done.stderr) == (0, "infer.py: sparse kernels: none in this model\n")


@needs_kernels
@pytest.mark.parametrize("content", [None, b"another library"])
def test_a_library_that_is_not_as_packed_is_not_loaded(
    package: Path, content: bytes | None
) -> None:
    name = library(package)
    name.unlink()
    if content is not None:
        name.write_bytes(content)
    line = refused(package, package / "golden" / "inputs.npy")
    assert line.endswith(f"{name.name} is missing or changed: it is not loaded\n")
    done = call(package, "--self-test")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"infer.py: self-test failed: kernels/{platform_name()}/")


@needs_kernels
def test_a_platform_without_a_library_is_told_which_have_one(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_bytes())
    (name,) = manifest["libraries"].values()
    manifest["libraries"] = {"linux-s390x": name, "macos-arm64": name}
    (package / "manifest.json").write_text(json.dumps(manifest))
    for arguments in (["--self-test"], [package / "golden" / "inputs.npy"]):
        line = refused(package, *arguments)
        assert f"has none for {platform_name()}, only for linux-s390x, macos-arm64: " in line


@pytest.mark.parametrize("system", ["linux", "darwin", "win32", "freebsd14"])
@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "aarch64", "arm64", "riscv64"])
@pytest.mark.parametrize("largest", [2**31 - 1, 2**63 - 1])
def test_it_names_platforms_as_wfpipe_does(
    system: str, machine: str, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(sys, "maxsize", largest)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert infer.platform_name() == platforms.platform_name()
