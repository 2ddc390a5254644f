"""What a report tells of the machine, and what it does not."""

from __future__ import annotations

import platform
import socket
from pathlib import Path

import onnxruntime as ort
import pytest

from wfpipe import __version__
from wfpipe.exporters.measuring import environment
from wfpipe.exporters.measuring.environment import (
    describe_environment,
    processor_name,
    this_machine,
)
from wfpipe.exporters.measuring.session import SessionSettings


def test_environment_tells_versions_and_settings() -> None:
    settings = SessionSettings("cpu", threads=3, spinning=False)
    figures = describe_environment(settings, "CPUExecutionProvider", "cuda:0")
    assert (figures.wfpipe, figures.onnxruntime) == (__version__, ort.__version__)
    assert (figures.threads, figures.spinning, figures.flush_denormals) == (3, False, True)
    assert (figures.provider, figures.device) == ("CPUExecutionProvider", "cuda:0")
    assert figures.python == platform.python_version()
    assert figures.cores >= 1
    assert figures.kernels is None


def test_environment_and_machine_tell_which_sparse_kernels_ran() -> None:
    settings = SessionSettings("cpu", threads=1)
    assert describe_environment(settings, "CPUExecutionProvider", "none", "neon").kernels == "neon"
    assert (this_machine("avx2").kernels, this_machine().kernels) == ("avx2", None)


def test_environment_names_neither_the_host_nor_a_path() -> None:
    figures = describe_environment(SessionSettings("cpu", 1), "CPUExecutionProvider", "none")
    text = figures.model_dump_json()
    assert socket.gethostname() not in text
    assert "/" not in figures.system + figures.processor.replace("/GPU", "")
    assert platform.release() not in text


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n", "Some CPU @ 2.00GHz"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", platform.machine()),
        ("model name\t:\n", platform.machine()),
    ],
)
def test_processor_is_named_by_its_model_or_its_architecture(
    content: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(content)
    monkeypatch.setattr(environment, "_CPUINFO", file)
    assert processor_name() == name
