from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from wfpipe.exporters.documents.parsing import parse_document
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import result_or_line


class Note(BaseModel):
    schema_: str = Field(alias="schema")
    pages: dict[str, int]


def parse(raw: bytes) -> Note:
    return parse_document(raw, Note, "note/1", "note 'a.json'")


def test_a_valid_document_is_parsed() -> None:
    assert parse(b'{"schema": "note/1", "pages": {"a": 3}}').pages == {"a": 3}


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"schema": NaN}', b"[" * 100_000])
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match=r"^note 'a.json' is not valid JSON$"):
        parse(raw)


@pytest.mark.parametrize("raw", [b"[]", b"3", b"{}", b'{"schema": "note/2"}', b'{"schema": [1]}'])
def test_another_schema_is_refused(raw: bytes) -> None:
    with pytest.raises(InputError, match=r"^note 'a.json' must have the schema 'note/1', got .*$"):
        parse(raw)


def test_a_broken_rule_is_named_with_its_place_on_one_line() -> None:
    raw = json.dumps({"schema": "note/1", "pages": {"a\nb": "x"}}).encode()
    with pytest.raises(InputError) as caught:
        parse(raw)
    assert str(caught.value).startswith(r"note 'a.json': 'pages.a\nb': ")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_one_line(raw: bytes) -> None:
    note = result_or_line(lambda: parse(raw))
    assert note is None or note.schema_ == "note/1"
