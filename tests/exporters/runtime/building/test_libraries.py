"""Libraries appear in the package whole, and what is not there is explained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfpipe.exporters.runtime.building import __main__ as command
from wfpipe.exporters.runtime.building import libraries as building
from wfpipe.exporters.runtime.compiler import NATIVE, PLATFORMS

OWN = "linux-x86_64"
Compiled = list[tuple[str, list[str]]]


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of libraries, not there at first, in place of the package's, on a known platform."""
    for module in (building, command):
        monkeypatch.setattr(module, "LIBRARIES", tmp_path / "libraries")
        monkeypatch.setattr(module, "platform_name", lambda: OWN)
    monkeypatch.delenv("WFPIPE_NO_KERNELS", raising=False)
    return tmp_path / "libraries"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Compiled:
    """What was compiled, by which compiler, in place of compiling it."""
    calls: Compiled = []

    def compile_library(target: Path, platform: str, compiler: list[str]) -> None:
        calls.append((platform, compiler))
        target.write_bytes(b"library")

    monkeypatch.setattr(building, "compile_library", compile_library)
    return calls


def have(monkeypatch: pytest.MonkeyPatch, *, system: bool, zig: bool) -> None:
    monkeypatch.setattr(building, "system_compiler", lambda: ["g++"] if system else None)
    zig_compiler = lambda target: ["zig", target] if zig else None  # noqa: E731
    monkeypatch.setattr(building, "zig_compiler", zig_compiler)


def test_system_compiler_goes_before_zig_for_this_machine_alone(
    libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, system=True, zig=True)
    assert building.choose_compiler(OWN, portable=False) == ["g++"]
    assert building.choose_compiler(OWN, portable=True)[0] == "zig"
    assert building.choose_compiler("macos-arm64", portable=False)[0] == "zig"


def test_without_compiler_the_reason_is_given(
    libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, system=False, zig=False)
    with pytest.raises(building.NotBuilt, match="compiler works here, and zig is not"):
        building.choose_compiler(OWN, portable=False)


def test_compiler_that_fails_leaves_the_old_library(libraries: Path) -> None:
    library = libraries / OWN / PLATFORMS[OWN].library
    library.parent.mkdir(parents=True)
    library.write_bytes(b"old")
    with pytest.raises(building.NotBuilt, match="false failed"):
        building.build_library(OWN, ["false"])
    assert [path.name for path in library.parent.iterdir()] == [library.name]
    assert library.read_bytes() == b"old"


def test_building_takes_back_the_note_that_none_was_built(
    libraries: Path, compiled: Compiled
) -> None:
    building.note_missing("no compiler")
    note = libraries / "why-missing.txt"
    assert note.read_text(encoding="utf-8") == "no compiler\n"
    assert building.build_library(OWN, ["g++"]).read_bytes() == b"library"
    assert not note.exists()


def test_package_holds_only_what_a_build_made(libraries: Path, compiled: Compiled) -> None:
    for name in PLATFORMS:
        building.build_library(name, ["zig"])
    building.keep_only([OWN])
    assert [path.name for path in libraries.iterdir()] == [OWN]


def test_library_is_made_again_when_a_source_is_newer(
    libraries: Path, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, system=True, zig=False)
    assert command.main([]) == 0
    assert command.main([]) == 0
    assert compiled == [(OWN, ["g++"])]
    oldest = min(path.stat().st_mtime for path in NATIVE.iterdir())
    os.utime(libraries / OWN / PLATFORMS[OWN].library, (oldest - 9, oldest - 9))
    assert command.main([]) == 0
    assert len(compiled) == 2


def test_named_platforms_are_made_by_zig(
    libraries: Path, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, system=True, zig=True)
    assert command.main(["macos-arm64", OWN]) == 0
    assert compiled == [
        ("macos-arm64", ["zig", PLATFORMS["macos-arm64"].zig_target]),
        (OWN, ["g++"]),
    ]


def test_machine_with_neither_compiler_nor_library_is_no_fault(
    libraries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    have(monkeypatch, system=False, zig=False)
    assert command.main([]) == 0
    assert command.main([OWN]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["sparse kernels: no C++ compiler works here, and zig is not installed"] * 2


def test_library_older_than_its_sources_is_a_fault_without_compiler(
    libraries: Path, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(building.build_library(OWN, ["g++"]), (0, 0))
    have(monkeypatch, system=False, zig=False)
    assert command.main([]) == 2


def test_sources_that_do_not_compile_are_a_fault(
    libraries: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(building, "system_compiler", lambda: ["false"])
    assert command.main([]) == 2
    assert "false failed" in capsys.readouterr().err


def test_unknown_platform_is_told_which_there_are(
    libraries: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["beos-m68k"]) == 2
    assert "no kernels for 'beos-m68k', only for linux-x86_64" in capsys.readouterr().err
