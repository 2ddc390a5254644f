"""A compiler is taken when it works, and zig is asked for only where pip can have it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wfpipe.exporters.runtime.building.toolchain import (
    is_zig,
    system_compiler,
    zig_can_be_had,
    zig_compiler,
)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which programs are looked for; empty at first."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path


def put(programs: Path, name: str, script: str) -> None:
    program = programs / name
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)


def test_machine_without_compiler_has_none(programs: Path) -> None:
    assert system_compiler() is None


def test_compiler_that_fails_is_not_taken(programs: Path) -> None:
    put(programs, "g++", "echo cannot find crt1.o >&2; exit 1")
    assert system_compiler() is None


def test_compiler_whose_library_does_not_load_is_not_taken(programs: Path) -> None:
    put(programs, "g++", 'while [ "$1" != -o ]; do shift; done; echo other machine > "$2"')
    assert system_compiler() is None


def test_named_compiler_that_is_not_there_is_passed_over(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/no/such/compiler -m64")
    assert system_compiler() is None


def test_zig_cannot_be_had_from_an_index_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert not zig_can_be_had()


def test_where_there_is_no_pip_the_installer_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert zig_can_be_had()


def test_zig_is_told_from_other_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfpipe.exporters.runtime.building.toolchain.find_spec", lambda name: name)
    command = zig_compiler("x86_64-linux-gnu.2.17")
    assert command is not None
    assert command[-2:] == ["-target", "x86_64-linux-gnu.2.17"]
    assert is_zig(command)
    assert not is_zig(["g++"])
