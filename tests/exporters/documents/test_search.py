from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from wfpipe.exporters.documents.json_schemas import shipped_schema
from wfpipe.exporters.documents.search import read_search
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.search_samples import usual_search


def test_a_search_is_read_as_it_was_written_and_valid_by_its_schema(tmp_path):
    path = tmp_path / "search.json"
    path.write_text(json.dumps(usual_search().to_json()))
    assert read_search(path) == usual_search()
    Draft202012Validator(shipped_schema("search")).validate(json.loads(path.read_text()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "wfpipe-search/2"}, "wfpipe-search/1"),
        ({"chosen": 6}, "chosen names trial 6 of 5"),
        ({"trials": usual_search().model_dump(mode="json")["trials"][1:]}, "numbered from 1"),
        ({"goal": "best"}, "goal"),
        ({"dense_accuracy": 101.0}, "dense_accuracy"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_no_search_is_refused_in_a_line(
    tmp_path: Any, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "search.json"
    path.write_text(json.dumps({**usual_search().to_json(), **change}))
    with pytest.raises(InputError, match=message) as caught:
        read_search(path)
    assert "\n" not in str(caught.value)
