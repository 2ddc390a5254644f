"""The library of kernels is found and registered, or one line says why it is not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import onnxruntime as ort
import pytest

from wfpipe.exporters.measuring import kernels_library
from wfpipe.exporters.measuring.kernels_library import (
    available,
    kernel_path,
    lacks_kernels,
    libraries_for,
    library_path,
    path_in_use,
    register,
    why_missing,
)
from wfpipe.exporters.measuring.platforms import PLATFORMS, platform_name
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import write_model
from wfpipe.tests.exporters.runtime.library import kernels
from wfpipe.tests.exporters.sparse_samples import sparse_model

OTHERS = [name for name in PLATFORMS if name != platform_name()]


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of libraries, empty at first, in place of the package's."""
    monkeypatch.setattr(kernels_library, "LIBRARIES", tmp_path)
    return tmp_path


def put(libraries: Path, platform: str, content: bytes = b"library") -> Path:
    library = libraries / platform / "libwfpipe_kernels.so"
    library.parent.mkdir()
    library.write_bytes(content)
    return library


def best_path() -> str:
    """Return the best path for this processor by what the system says of it."""
    if not platform_name().endswith("x86_64"):
        return "neon"
    line = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    flags = set(line[1].split()) if line else set()
    if not {"avx2", "fma", "f16c"} <= flags:
        return "baseline"
    return "avx512" if {f"avx512{part}" for part in ("f", "vl", "dq", "bw")} <= flags else "avx2"


def test_libraries_are_found_by_their_platform(libraries: Path) -> None:
    own, other = put(libraries, platform_name()), put(libraries, OTHERS[0])
    assert library_path() == own
    assert library_path(OTHERS[0]) == other
    assert library_path(OTHERS[1]) is None
    assert set(available()) == {platform_name(), OTHERS[0]}


def test_missing_library_is_explained_by_what_the_build_left(libraries: Path) -> None:
    (libraries / "why-missing.txt").write_text("no C++ compiler works here\n", encoding="utf-8")
    assert available() == []
    line = why_missing()
    assert "no C++ compiler works here. Build them with: pip install ziglang && python -m" in line
    assert line.count("\n") == 0


def test_missing_library_of_another_platform_is_built_by_its_name(libraries: Path) -> None:
    put(libraries, platform_name())
    line = why_missing(OTHERS[0])
    assert f"this wfpipe has those of: {platform_name()}" in line
    assert line.endswith(f"wfpipe.exporters.runtime.building {OTHERS[0]}")


def test_platform_without_kernels_is_told_which_have_some(libraries: Path) -> None:
    line = why_missing("linux-riscv64")
    assert "no sparse kernels for linux-riscv64" in line
    assert all(name in line for name in PLATFORMS)


def test_file_that_is_no_library_is_refused_in_one_line(libraries: Path) -> None:
    library = put(libraries, platform_name(), b"not a library")
    for use in (kernel_path, lambda path: register(ort.SessionOptions(), path)):
        with pytest.raises(InputError, match="cannot be used here") as caught:
            use(library)
        assert "\n" not in str(caught.value)


def test_libraries_for_platforms_come_by_name_or_not_at_all(libraries: Path) -> None:
    own, other = put(libraries, platform_name()), put(libraries, OTHERS[0])
    assert libraries_for(None) == {platform_name(): own}
    assert libraries_for([OTHERS[0]]) == {OTHERS[0]: other}
    with pytest.raises(InputError, match=f"kernels for {OTHERS[1]} are not installed"):
        libraries_for([OTHERS[0], OTHERS[1]])


def test_only_a_missing_library_makes_a_model_lack_kernels(libraries: Path) -> None:
    failure = "Fatal error: wfpipe:ToTiles(-1) is not a registered function/op"
    assert lacks_kernels(failure)
    assert not lacks_kernels("Fatal error: com.acme:Fast(-1) is not a registered function/op")
    put(libraries, platform_name())
    assert not lacks_kernels(failure)


def test_path_in_use_is_that_of_models_with_kernels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write_model(tmp_path / "plain.onnx")
    sparse = write_model(tmp_path / "sparse.onnx", sparse_model())
    assert path_in_use([plain]) is None
    if (library := library_path()) is not None:
        assert path_in_use([plain, sparse]) == kernel_path(library)
    monkeypatch.setattr(kernels_library, "LIBRARIES", tmp_path)
    with pytest.raises(InputError, match="are not installed"):
        path_in_use([plain, sparse])


@pytest.mark.skipif(library_path() is None, reason=why_missing())
def test_installed_library_registers_and_runs_the_best_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("WFPIPE_KERNELS", raising=False)
    library = library_path()
    assert library is not None
    assert platform_name() in available()
    assert kernel_path(library) == best_path()
    register(ort.SessionOptions(), library)


@pytest.mark.skipif(not platform_name().startswith("linux"), reason="of ELF libraries")
@pytest.mark.parametrize("use", [kernel_path, lambda path: register(ort.SessionOptions(), path)])
def test_a_library_that_is_cut_short_is_refused_in_a_line(
    use: Callable[[Path], object], tmp_path: Path
) -> None:
    """Loading one would end the process with a signal."""
    content = kernels().read_bytes()
    short = tmp_path / "libwfpipe_kernels.so"
    for length in (16, 60, 100, 4096, 100_000, len(content) // 2):
        short.write_bytes(content[:length])
        with pytest.raises(InputError, match="cannot be used here: it is cut short"):
            use(short)
