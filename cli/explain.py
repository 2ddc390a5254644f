"""Errors as an exit code and one line."""

from __future__ import annotations

import click

from ..support.errors import CheckFailed, InputError
from ..support.printable import printable

BAD_INPUT, CHECK_FAILED, FAULT = 2, 3, 1
_LONGEST_LINE = 2000  # characters


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error, and the line that says what to do about it."""
    code, line = _explain(error)
    line = printable(" ".join(line.split()))
    if len(line) > _LONGEST_LINE:  # a file from elsewhere chose some of it
        line = f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"
    return code, line


def _explain(error: Exception) -> tuple[int, str]:
    if isinstance(error, InputError):
        return BAD_INPUT, f"error: {error}"
    if isinstance(error, CheckFailed):
        return CHECK_FAILED, f"check failed: {error}"
    if isinstance(error, click.ClickException):
        return BAD_INPUT, f"error: {error.format_message()}"
    if isinstance(error, OSError):
        where = error.filename or "the output"
        return BAD_INPUT, f"error: {where}: {error.strerror or error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return BAD_INPUT, (
            "error: out of memory: lower data.batch, prune.gradients or data.limit_train, "
            "or use a device with more memory"
        )
    return FAULT, f"fault in wfpipe: {type(error).__name__}: {error} (--debug shows where)"
