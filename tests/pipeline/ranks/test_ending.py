from __future__ import annotations

import pytest

from wfpipe.pipeline.ranks import ending


@pytest.mark.parametrize(
    ("working", "line", "told"),
    [
        (False, "error: no such model", "wfpipe: error: no such model"),
        (True, "error: cannot write a: No space left", "wfpipe: rank 0: error: cannot write a: No"),
        (True, "error: rank 1 cannot write a: No", "wfpipe: error: rank 1 cannot write a: No"),
    ],
)
def test_the_line_names_the_rank_once_and_rank_0_once_it_works(working, line, told, monkeypatch):
    said: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.delenv(ending.END_FILE, raising=False)
    monkeypatch.setattr(ending, "works", lambda: working)
    monkeypatch.setattr(ending, "tell", said.append)
    assert ending.end(2, line) == 2
    (found,) = said
    assert found.startswith(told)
