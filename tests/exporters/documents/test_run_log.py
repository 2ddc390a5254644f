from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.exporters.documents.run_log import LOG_FILE, read_log
from wfpipe.support.errors import InputError


def write(folder: Path, content: bytes) -> Path:
    (folder / LOG_FILE).write_bytes(content)
    return folder


def test_events_are_read_in_order_with_the_figures_that_are_there(tmp_path: Path) -> None:
    lines = (
        b'{"event": "dense", "accuracy": 99.4}\n\n'
        b'{"event": "prune", "step": 1, "predicted_loss_increase": null, "swaps": 3}\n'
        b'{"event": "epoch", "epoch": 1, "loss": NaN}\n'
    )
    events = read_log(write(tmp_path, lines))
    assert [event.event for event in events] == ["dense", "prune", "epoch"]
    assert events[0].accuracy == 99.4
    assert events[1].predicted_loss_increase is None


def test_without_a_log_there_are_no_events(tmp_path: Path) -> None:
    assert read_log(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"event": "dense"}\n{"event": "pr', "line 2: "),
        (b'{"event": "epoch", "epoch": "one"}', "line 1: epoch: "),
        (b'["dense"]', "line 1: "),
        (b"\xff\xfe", "line 1: "),
        (b"", "is empty"),
    ],
)
def test_a_broken_log_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_log(write(tmp_path, content))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
