from __future__ import annotations

import pytest

from wfpipe.support.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("bad shape"), "bad shape"),
        (RuntimeError("\n  bad shape\nat line 7 of shape.cc\n"), "bad shape"),
        (RuntimeError(), "RuntimeError"),
        (RuntimeError(" \n"), "RuntimeError"),
    ],
)
def test_an_error_of_other_software_becomes_one_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
