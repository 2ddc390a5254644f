"""This machine's platform has the name that libraries are made under."""

from __future__ import annotations

import platform
import sys

import pytest

from wfpipe.exporters.measuring.platforms import PLATFORMS, platform_name
from wfpipe.exporters.runtime import compiler


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "x86_64", "linux-x86_64"),
        ("linux", "aarch64", "linux-aarch64"),
        ("linux", "arm64", "linux-aarch64"),
        ("darwin", "arm64", "macos-arm64"),
        ("win32", "AMD64", "windows-x86_64"),
        ("darwin", "x86_64", "macos-x86_64"),
        ("freebsd14", "amd64", "freebsd14-amd64"),
    ],
)
def test_platform_is_named_for_system_and_processor(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert platform_name() == name


def test_python_of_32_bits_is_another_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert platform_name() not in PLATFORMS


def test_platforms_are_those_that_the_compiler_knows() -> None:
    assert set(PLATFORMS) == set(compiler.PLATFORMS)
