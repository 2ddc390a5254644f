from __future__ import annotations

import pytest

from wfpipe.pipeline.pruning.choice.pattern import Pattern
from wfpipe.pipeline.steps.pattern import pattern_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("unstructured", Pattern()),
        ("2:4", Pattern("2:4", 4, 2)),
        ("1:16", Pattern("1:16", 16, 1)),
        ("block:1:in", Pattern("block:1:in", 1, 0, "in")),
        ("block:8:out", Pattern("block:8:out", 8, 0, "out")),
    ],
)
def test_names_of_patterns(text, expected):
    assert pattern_of(text) == expected


@pytest.mark.parametrize("text", ["4:4", "5:4", "0:4", "0:0", "1:1"])
def test_n_of_m_outside_the_rule_is_refused(text):
    with pytest.raises(ValueError, match=rf"1 <= N < M, got '{text}'"):
        pattern_of(text)


def test_blocks_of_no_weight_are_refused():
    with pytest.raises(ValueError, match=r"K >= 1, got 'block:0:in'"):
        pattern_of("block:0:in")


@pytest.mark.parametrize(
    "text",
    ["", "2:", "2:4:8", "a:b", "-1:4", " 2:4", "2:4\n", "block:4", "block:4:up", "2:9999999999"],
)
def test_other_texts_are_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match=r"unstructured, channel, N:M, block:K:in or block:K:out"):
        pattern_of(text)
