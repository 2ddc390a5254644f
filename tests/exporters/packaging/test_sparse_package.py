"""Packages of a model on sparse kernels: libraries are packed, listed, and never loaded here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wfpipe.exporters.documents.manifest import MANIFEST_FILE
from wfpipe.exporters.measuring import kernels_library
from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path, why_missing
from wfpipe.exporters.measuring.platforms import PLATFORMS, platform_name
from wfpipe.exporters.packaging.package import describe_file, write_package
from wfpipe.exporters.packaging.profile import profile_package
from wfpipe.exporters.packaging.verify import checked_package, verify_package
from wfpipe.exporters.reading.archive import read_archive, write_archive
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.package_samples import (
    golden_inputs,
    make_package,
    manifest_of,
    repacked,
    write_model,
)
from wfpipe.tests.exporters.sparse_samples import make_sparse_package, sparse_model

pytestmark = pytest.mark.skipif(library_path() is None, reason=why_missing())

OTHER = next(name for name in PLATFORMS if name != platform_name())
Members = dict[str, bytes]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sparse_package(tmp_path_factory.mktemp("sparse"))


@pytest.fixture(scope="module")
def members(package: Path) -> Members:
    return read_archive(package)


def installed() -> Path:
    library = library_path()
    assert library is not None
    return library


def packed_name() -> str:
    return f"kernels/{platform_name()}/{installed().name}"


def written(folder: Path, members: Members) -> Path:
    write_archive(folder / "other.zip", members)
    return folder / "other.zip"


def test_the_library_of_each_platform_is_packed_and_listed(tmp_path: Path) -> None:
    (tmp_path / "kernels.bin").write_bytes(b"of another platform")
    other = {OTHER.replace("-", "__"): tmp_path / "kernels.bin"}
    members = read_archive(make_sparse_package(tmp_path, **other))
    manifest = manifest_of(members)
    name = f"kernels/{OTHER}/kernels.bin"
    assert manifest.libraries == {platform_name(): packed_name(), OTHER: name}
    assert members[packed_name()] == installed().read_bytes()
    assert members[name] == b"of another platform"
    assert manifest.files[name] == describe_file(members[name])
    said = str(verify_package(tmp_path / "package.zip"))
    assert f"it holds kernels for {', '.join(manifest.libraries)}, not run here" in said


def test_the_card_says_what_the_model_needs(members: Members) -> None:
    card = members["MODEL_CARD.md"].decode()
    assert "an ONNX file whose pruned layers run on sparse kernels" in card
    assert f"| runs on | CPUs of {platform_name()}: " in card
    assert f"ONNX Runtime 1.17 or newer, and the library of the platform: `{packed_name()}`" in card


def test_a_model_on_kernels_is_not_packed_without_them(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx", sparse_model())
    with pytest.raises(InputError, match="pack the libraries of its platforms too"):
        write_package(
            tmp_path / "a.zip", model=source, golden_inputs=golden_inputs(), report=None,
            variant="sparse-cpu",
        )  # fmt: skip
    assert not (tmp_path / "a.zip").exists()


def test_a_model_that_needs_none_is_packed_without(tmp_path: Path) -> None:
    write_package(
        tmp_path / "a.zip", model=write_model(tmp_path / "a.onnx"), golden_inputs=golden_inputs(),
        report=None, libraries={platform_name(): installed()},
    )  # fmt: skip
    members = read_archive(tmp_path / "a.zip")
    assert "libraries" not in json.loads(members[MANIFEST_FILE])
    assert members == read_archive(make_package(tmp_path))
    result = verify_package(tmp_path / "a.zip")
    assert result.kernels is None
    assert "kernels" not in str(result)


def test_verification_says_which_path_of_the_installed_kernels_ran(package: Path) -> None:
    result = verify_package(package)
    assert result.kernels == kernel_path(installed())
    assert f"on this wfpipe's own sparse kernels, path {result.kernels} (largest" in str(result)


def test_a_library_of_the_package_is_never_loaded(members: Members, tmp_path: Path) -> None:
    hostile = repacked({**members, packed_name(): b"not a library at all"})
    result = verify_package(written(tmp_path, hostile))
    assert result.kernels == kernel_path(installed())


def test_a_changed_library_fails(members: Members, tmp_path: Path) -> None:
    changed = {**members, packed_name(): members[packed_name()] + b"x"}
    with pytest.raises(CheckFailed, match=f"'{packed_name()}' was changed"):
        verify_package(written(tmp_path, changed))


def test_a_manifest_that_hides_the_libraries_fails(members: Members, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="has other libraries than"):
        verify_package(written(tmp_path, repacked(members, libraries={})))


@pytest.mark.parametrize("name", ["infer.py", "kernels/x/none.so", "../kernels.so"])
def test_a_manifest_that_names_another_file_as_library_cannot_be_read(
    members: Members, tmp_path: Path, name: str
) -> None:
    bad = repacked(members, libraries={platform_name(): name})
    with pytest.raises(InputError, match="which is no such file"):
        verify_package(written(tmp_path, bad))


def test_where_no_kernels_are_installed_verification_says_what_brings_them(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels_library, "LIBRARIES", tmp_path)
    with pytest.raises(InputError, match=r"model\.onnx runs on sparse kernels: .* Build them with"):
        verify_package(package)


def test_a_profile_runs_and_names_the_kernels(package: Path) -> None:
    with checked_package(package) as checked:
        profile = profile_package(checked, threads=[1], batch_sizes=[1], runs=40)
    assert profile.machine.kernels == kernel_path(installed())
    assert (profile.variant, len(profile.measured)) == ("sparse-cpu", 1)
    assert profile.measured[0].cold_start_ms.load > 0
