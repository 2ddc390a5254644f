from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from wfpipe.pipeline.ranks import restart
from wfpipe.support.files import write_text


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that marks a run, of a job whose store outlives its starts."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    store.set_timeout(timedelta(seconds=5))
    monkeypatch.setattr(restart, "open_store", lambda: store)
    return tmp_path / "recipe.yaml"


def start(recipe: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> bool:
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(number))
    return restart.begun_before(recipe)


@pytest.mark.parametrize("there", [False, True])
def test_a_run_goes_on_once_this_job_has_begun_it(there, recipe, monkeypatch):
    if there:
        recipe.write_text("of another job")
    assert [start(recipe, monkeypatch, number) for number in (0, 1, 2)] == [False] * 3
    write_text(recipe, "of another job")  # begun: the file takes the place of the other
    assert start(recipe, monkeypatch, 3)


def test_where_the_store_is_a_new_one_the_run_in_the_folder_goes_on(recipe, monkeypatch):
    assert not start(recipe, monkeypatch, 1)
    recipe.write_text("")
    assert start(recipe, monkeypatch, 1)
