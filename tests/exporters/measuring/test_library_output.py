"""What is kept off the terminal, and that it comes back."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings

import pytest

from wfpipe.exporters.measuring.library_output import captured_stderr, quiet


def test_what_the_own_thread_prints_logs_and_warns_is_dropped(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet():
        print("out")
        print("err", file=sys.stderr)
        logging.getLogger("library").error("log")
        warnings.warn("old", FutureWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "")
    assert caplog.records == []
    print("after")
    logging.getLogger("library").error("log")
    assert capsys.readouterr().out == "after\n"
    assert [record.message for record in caplog.records] == ["log"]
    with pytest.warns(FutureWarning, match="old"):
        warnings.warn("old", FutureWarning, stacklevel=1)


def test_other_threads_still_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        other = threading.Thread(target=print, args=("from a progress bar",))
        other.start()
        other.join()
        print("from the library")
    assert capsys.readouterr().out == "from a progress bar\n"


def test_logging_is_back_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="stop"), quiet():
        raise ValueError("stop")
    logging.getLogger("library").error("log")
    assert len(caplog.records) == 1


def test_what_native_code_writes_to_standard_error_is_captured(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with captured_stderr() as captured:
        os.write(2, "failed to load: \N{SNOWMAN}\n".encode() + b"\xff")
    assert captured.text == "failed to load: \N{SNOWMAN}\n\N{REPLACEMENT CHARACTER}"
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_standard_error_is_back_after_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with captured_stderr():
            os.write(2, b"before")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail()
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
