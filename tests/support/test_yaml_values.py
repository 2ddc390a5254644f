from __future__ import annotations

import pytest

from wfpipe.support.yaml_values import load_yaml


def test_plain_values_are_read() -> None:
    assert load_yaml("a: {b: [1, 0.5, x, null, true]}") == {"a": {"b": [1, 0.5, "x", None, True]}}


def test_an_alias_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="not valid YAML: it uses an alias on line 2"):
        load_yaml("a: &a [x]\nb: [*a, *a]\n")


def test_mappings_that_would_double_with_each_line_are_refused() -> None:
    lines = ["a: &a {x: 1}"]
    lines += [
        f"{c}: &{c} {{<<: [*{b}, *{b}]}}" for b, c in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    with pytest.raises(ValueError, match="it uses an alias on line 2"):
        load_yaml("\n".join(lines))


@pytest.mark.parametrize(
    "text", ["!!int ''", "!!python/name:os.system", "a: !!python/object/apply:os.system [x]",
             "[" * 5000, "2001-99-99", "'", "9" * 20_000, "\x00"],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML"):
        load_yaml(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3\n", "a key is there twice in what begins on line 1"),
        ("a:\n  b: {c: 1, c: 2}\n", "a key is there twice in what begins on line 2"),
        ("a: " + "1:" * 200 + "1", "a number on line 1 has 401 characters: the limit is 100"),
        ("a: 0x" + "f" * 200, "a number on line 1 has 202 characters"),
    ],
)
def test_what_would_mislead_or_take_long_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"not valid YAML: {reason}"):
        load_yaml(text)
