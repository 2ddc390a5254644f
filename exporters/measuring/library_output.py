"""Keep a library's notices off the user's terminal while it works."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what this thread prints, logs and warns; other threads still write to the terminal."""
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        redirect_stdout(_Muted(sys.stdout)),
        redirect_stderr(_Muted(sys.stderr)),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


class Captured:
    """The text that :func:`captured_stderr` has caught, once its block is over."""

    text = ""


@contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Catch what native code writes to the process's standard error within the block.

    Everything that the process writes there is caught, whichever thread writes it: keep the
    block short.
    """
    captured = Captured()
    sys.stderr.flush()
    try:
        sink = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
        saved = os.dup(2)
    except OSError:  # there is no room for a file, or no standard error
        yield captured
        return
    with sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield captured
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sink.seek(0)
            captured.text = sink.read().decode(errors="replace")


class _Muted:
    """A stream that drops what the thread that made it writes and passes on the rest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._thread = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self._thread:
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
