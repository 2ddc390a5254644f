from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wfpipe.benchmarks.cuda.part import PARTS, rows_of
from wfpipe.benchmarks.cuda.sizes import SMALL
from wfpipe.benchmarks.cuda.steps import WAYS, recipe_of
from wfpipe.benchmarks.on_gpu import LIMITS_S, run_part, share_without_failure, table

ON_CPU = replace(SMALL, device="cpu")
ROW = '{"what": "time", "value": %s, "unit": "s", "error": null}'


def part(code: str, tmp_path: Path, limit: float = 30.0) -> list[dict[str, Any]]:
    rows = tmp_path / "rows"
    command = [sys.executable, "-S", "-c", code, str(rows)]
    return run_part(command, rows, limit, dict(os.environ))


def written(*values: str) -> str:
    lines = "\\n".join(ROW % value for value in values)
    return f"import os, sys, time; open(sys.argv[1], 'w').write('{lines}\\n'); "


@pytest.mark.parametrize("name", [n for n in PARTS if n not in ("2:4", "against the CPU")])
def test_each_part_does_its_work_on_the_cpu_at_tiny_sizes(name):
    rows = list(rows_of(name, ON_CPU))
    assert rows
    assert [row.error for row in rows if row.error] == []


def test_the_cpu_agrees_with_itself():
    masks, weights = rows_of("against the CPU", ON_CPU)
    assert (masks.value, weights.value) == (100.0, 0.0)


@pytest.mark.parametrize("way", WAYS)
def test_the_recipe_of_each_way_to_prune_is_one(way):
    assert recipe_of(ON_CPU, Path("images.npz"), WAYS[way]).prune.criterion


def test_what_a_device_cannot_do_is_a_row_with_the_line_of_the_error():
    rows = {row.what: row for row in rows_of("2:4", ON_CPU)}
    assert rows["wfpipe's mask obeys 2:4"].value == "True"
    assert "CUDA" in (rows["2:4 by CUTLASS"].error or "")


def test_every_part_has_a_time_limit():
    assert list(LIMITS_S) == list(PARTS)


def test_a_part_that_raises_keeps_its_rows_and_gives_the_line_of_the_error(tmp_path):
    first, second = part(written("1.5") + "raise ValueError('no such card')", tmp_path)
    assert (first["value"], first["error"]) == (1.5, None)
    assert second["error"] == "ValueError: no such card"


def test_a_part_that_is_killed_or_takes_too_long_says_so(tmp_path):
    (killed,) = part("import os; os.kill(os.getpid(), 11)", tmp_path)
    assert killed["error"] == "it was ended by SIGSEGV"
    row, late = part(written("2.0") + "time.sleep(60)", tmp_path, limit=1.0)
    assert row["value"] == 2.0
    assert late["error"] == "it took longer than 1 s and was ended"


def test_a_value_that_is_no_number_counts_as_a_failure(tmp_path):
    (row,) = part(written("NaN"), tmp_path)
    assert (row["value"], row["error"]) == (None, "the value is nan")


def test_the_table_shows_figures_words_and_failures():
    rows: list[dict[str, Any]] = [
        {"part": "a", "what": "time", "value": 0.12345, "unit": "s", "error": None},
        {"part": "a", "what": "name", "value": "X", "unit": "", "error": None},
        {"part": "b", "what": "rate", "value": None, "unit": "", "error": "no | card"},
    ]
    assert table(rows).splitlines()[2:] == [
        "| a | time | 0.1235 | s |",
        "| a | name | X |  |",
        "| b | rate | failed: no \\| card |  |",
    ]
    assert share_without_failure(rows) == 0.5
