from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from wfpipe.exporters.documents.report import Report, read_report
from wfpipe.exporters.reporting.figures_table import figures_table
from wfpipe.exporters.reporting.writing import write_report
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, result_or_line

DOCUMENT = Path(__file__).parents[3] / "docs" / "report-json.md"


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report '.*none.json' does not exist"):
        read_report(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": "wfpipe-report/2"}, "must have the schema 'wfpipe-report/1'"),
        ({"sparsity": "much"}, "'sparsity': "),
        ({"surprise": 1}, "'surprise': "),
        ({"layers": [{"name": "a"}]}, "'layers.0.shape': "),
    ],
)
def test_an_invalid_report_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**make_report().to_json(), **change}))
    with pytest.raises(InputError) as caught:
        read_report(path)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_a_report_is_refused(tmp_path: Path) -> None:
    write_report(tmp_path, make_report())
    content = (tmp_path / "report.json").read_bytes().rstrip()
    for length in range(0, len(content), 7):
        (tmp_path / "cut.json").write_bytes(content[:length])
        with pytest.raises(InputError):
            read_report(tmp_path / "cut.json")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_give_a_report_or_one_line(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(json.dumps(make_report().to_json()).encode())
    for where, value in changes:
        content[where % len(content)] = value
    path = tmp_path / "report.json"
    path.write_bytes(content)
    report = result_or_line(lambda: read_report(path))
    assert report is None or all(len(row) == 4 for row in figures_table(report))


def keys(model: type[BaseModel]) -> set[str]:
    """The keys of a model and of the models in it."""
    found = set()
    for name, field in model.model_fields.items():
        found.add(field.alias or name)
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                found |= keys(part)
    return found


def test_the_documentation_names_every_key_and_no_other() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    documented = {
        re.split(r"\W+", key)[-1]
        for row in re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
        for key in re.findall(r"`([^`]+)`", row)
    }
    assert documented == keys(Report)


def test_the_example_in_the_documentation_is_a_valid_report() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert Report.model_validate_json(example).to_json() == json.loads(example)
