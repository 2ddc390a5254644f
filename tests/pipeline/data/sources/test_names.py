from __future__ import annotations

from wfpipe.pipeline.data.sources.names import Names


def test_names_are_what_was_put_in() -> None:
    given = ["a/b.jpg", "", "ü/é.png", "no utf-8 \udcff"]
    names = Names.of(given)
    assert list(names) == given
    assert [names[2], names[-1], len(names)] == [given[2], given[-1], 4]


def test_tables_are_joined_in_order() -> None:
    tables = [Names.of(["a", "bc"]), Names.of([]), Names.of(["d"])]
    assert list(Names.joined(tables)) == ["a", "bc", "d"]
    assert list(Names.joined([])) == []
