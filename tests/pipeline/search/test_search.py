from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import yaml

from wfpipe.exporters.documents.search import read_search
from wfpipe.exporters.measuring.kernels_library import library_path, why_missing
from wfpipe.pipeline.recipe.reading import Values, merge, resolve
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.runs.state import load_state
from wfpipe.pipeline.search import search as search_module
from wfpipe.pipeline.search.search import search
from wfpipe.pipeline.search.targets import find_goal, find_targets
from wfpipe.pipeline.stages.run import prune_and_export
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent

QUICK: Values = {
    "prune": {"criterion": "magnitude", "update": "none", "steps": 1},
    "finetune": {"epochs": 1},
    "data": {"limit_train": 300, "limit_test": 130},
    "export": {"variants": []},
    "validate": {"batches": 1, "threads": 1, "runs": 100},
}


class Lines(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def quick(**sections: dict[str, Any]):
    return resolve(merge([QUICK, sections]))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "out"
    recipe = quick(gates={"max_accuracy_drop": 2}, prune={"search.trials": 5})
    lines = Lines()
    return search(recipe, RunDirectory(folder), lines), folder, recipe, lines


def test_the_smallest_model_within_the_drop_is_chosen(found):
    result, folder, _, _ = found
    assert result == read_search(folder / "search.json")
    holding = [t for t in result.trials if t.outcome == "holds"]
    assert holding
    chosen = result.trials[result.chosen - 1]
    assert chosen.deflated_bytes == min(t.deflated_bytes for t in holding)
    assert chosen.accuracy >= result.dense_accuracy - 2
    assert chosen.value == max(t.value for t in holding)
    assert any(not t.accurate for t in result.trials)
    assert result.finished


def test_the_folder_has_page_package_and_a_run_for_each_trial(found):
    result, folder, _, _ = found
    chosen = folder / f"trial-{result.chosen:02d}"
    assert (folder / "package.zip").read_bytes() == (chosen / "package.zip").read_bytes()
    assert result.why[1:] in (folder / "search.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    for trial in result.trials:
        recipe = yaml.safe_load((folder / trial.folder / "recipe.yaml").read_text())
        assert recipe["prune"]["sparsity"] == trial.value
        assert recipe["prune"]["search"] is None
        reported = (folder / trial.folder / "report.json").exists()
        assert reported == (trial.outcome in ("holds", "misses"))


def test_the_search_says_which_trial_of_how_many_and_what_came_of_it(found):
    result, _, _, lines = found
    assert "trial 1 of at most 5: prune.sparsity=0.9" in lines.said
    assert any(line.startswith("trial 2 of at most 5") and "to go" in line for line in lines.said)
    for trial in result.trials:
        assert any(line.startswith(f"trial {trial.number}: {trial.outcome}") for line in lines.said)


def test_a_search_that_is_there_is_not_run_again_nor_overwritten_unasked(found, monkeypatch):
    result, folder, recipe, _ = found
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"already holds a run: pass --resume"):
        search(recipe, RunDirectory(folder), Silent())
    monkeypatch.setattr(search_module, "run_trial", None)
    assert search(recipe, RunDirectory(folder), Silent(), resume=True) == result
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_record_of_another_search_is_refused(found):
    result, folder, recipe, _ = found
    path = folder / "search.json"
    text = path.read_text()
    path.write_text(text.replace(result.recipe_digest, "0" * 64))
    with pytest.raises(InputError, match=r"search.json' is of another search"):
        search(recipe, RunDirectory(folder), Silent(), resume=True)
    path.write_text(text)


def test_trials_whose_record_was_lost_are_taken_as_they_are(found):
    result, folder, recipe, _ = found
    weights = folder / f"trial-{result.chosen:02d}" / "pruned.safetensors"
    before = weights.stat().st_mtime_ns
    (folder / "search.json").unlink()
    again = search(recipe, RunDirectory(folder), Silent(), resume=True)
    assert weights.stat().st_mtime_ns == before
    assert (again.chosen, again.why) == (result.chosen, result.why)
    assert [t.value for t in again.trials] == [t.value for t in result.trials]


def test_overwriting_removes_the_old_trials_and_leaves_what_is_not_the_searchs(found, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(found[1], folder)
    (folder / "trial-02" / "notes.txt").write_text("mine")
    recipe = quick(gates={"max_accuracy_drop": 50}, prune={"search.trials": 1, "sparsity": 0.5})
    result = search(recipe, RunDirectory(folder), Silent(), overwrite=True)
    assert len(result.trials) == 1
    assert [path.name for path in (folder / "trial-02").iterdir()] == ["notes.txt"]
    assert sorted(path.name for path in folder.glob("trial-*")) == ["trial-01", "trial-02"]


def test_a_target_in_macs_is_met_and_the_most_accurate_sharing_is_chosen(tmp_path):
    recipe = quick(prune={"search.target_macs": 0.5, "exclude": []})
    result = search(recipe, RunDirectory(tmp_path / "out"), Silent())
    assert [t.value for t in result.trials] == [1.0, 0.5, 0.0]
    assert all((t.macs or 1.0) <= 0.5 + 1e-4 for t in result.trials)
    assert result.chosen is not None
    chosen = result.trials[result.chosen - 1]
    assert chosen.accuracy == max(t.accuracy or 0.0 for t in result.trials)


def test_a_target_in_macs_is_met_by_whole_channels(tmp_path):
    recipe = quick(
        prune={"search.target_macs": 0.5, "pattern": "channel", "channel_cost": "ms"},
        gates={"max_accuracy_drop": 99},
    )
    result = search(recipe, RunDirectory(tmp_path / "out"), Silent())
    (only,) = result.trials
    assert (result.varied, only.value, only.outcome) == ("prune.max_macs", 0.5, "holds")
    assert only.macs is not None
    assert 0.4 < only.macs <= 0.5
    assert "max macs 0.5" in result.why
    plan = load_state(tmp_path / "out" / "trial-01" / "checkpoint.pt").plan
    assert plan is not None
    assert min(plan["ms"].values()) > 0


def test_a_target_of_time_out_of_reach_ends_the_search_with_what_is_reachable(tmp_path):
    if library_path() is None:
        pytest.skip(why_missing())
    recipe = quick(prune={"target_speedup": 500, "gradients": 4, "sparsity": None})
    recipe = recipe.model_copy(
        update={"export": recipe.export.model_copy(update={"measure_kernels": False})}
    )
    result = search(recipe, RunDirectory(tmp_path / "out"), Silent())
    assert [t.outcome for t in result.trials] == ["unreachable"]
    assert result.chosen is None
    assert "out of reach: the highest speed-up that can be planned here is" in result.why


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, "a search needs a target: --max-accuracy-drop"),
        ({"prune": {"search.target_macs": 0.5, "search.target_latency_ms": 1}},
         "--target-latency-ms and --target-macs exclude each other"),
        ({"prune": {"search.target_macs": 0.5, "target_speedup": 2}},
         "--target-speedup and --target-macs exclude each other"),
        ({"prune": {"pattern": "2:4"}, "gates": {"max_accuracy_drop": 1}},
         "pattern 2:4 fixes the sparsity"),
        ({"prune": {"search.target_macs": 0.5, "allocation": "erk"}}, "by allocation flops"),
        ({"prune": {"search.target_latency_ms": 1, "allocation": "uniform"}},
         "by allocation latency, got prune.allocation=uniform"),
        ({"prune": {"search.goal": "fastest", "allocation": "erk"},
          "gates": {"max_accuracy_drop": 1}}, "by allocation latency"),
        ({"prune": {"max_macs": 0.5, "allocation": "flops"}, "gates": {"max_accuracy_drop": 1}},
         "prune.max_macs=0.5 fixes how much is pruned"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_for_is_refused(sections, message):
    with pytest.raises(InputError, match=message):
        find_targets(quick(**sections))


@pytest.mark.parametrize(
    ("sections", "goal"),
    [
        ({"gates": {"max_accuracy_drop": 1}}, "smallest"),
        ({"prune": {"search.target_latency_ms": 1}}, "most-accurate"),
        ({"prune": {"target_speedup": 2}}, "most-accurate"),
        ({"prune": {"search.target_macs": 0.5, "search.goal": "fastest"}}, "fastest"),
    ],
)
def test_the_goal_follows_from_the_targets_where_it_is_not_set(sections, goal):
    assert find_goal(quick(**sections)) == goal


def test_a_target_of_time_that_dense_meets_is_refused(tmp_path):
    if library_path() is None:
        pytest.skip(why_missing())
    recipe = quick(prune={"search.target_latency_ms": 1e5})
    with pytest.raises(InputError, match=r"--target-latency-ms 100000 is met by the dense model"):
        search(recipe, RunDirectory(tmp_path / "out"), Silent())


@pytest.mark.parametrize(
    ("prune", "message"),
    [
        ({"search.target_macs": 0.5}, r"prune\.search is for `wfpipe search`"),
        ({"pattern": "channel", "target_speedup": 2}, r"by trials: run `wfpipe search"),
    ],
)
def test_a_run_refuses_the_recipe_of_a_search_before_it_writes_anything(prune, message, tmp_path):
    with pytest.raises(InputError, match=message):
        prune_and_export(quick(prune=prune), RunDirectory(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_any_task_is_searched_by_its_own_metric(tmp_path):
    random = np.random.default_rng(0)
    x = random.standard_normal((96, 4))
    y = x @ random.standard_normal((4, 1)) / 4
    np.savez(tmp_path / "d.npz", x_train=x[:64], y_train=y[:64], x_test=x[64:], y_test=y[64:])
    recipe = quick(
        model={"name": "mlp", "weights": "random", "options": {"hidden": [8]}},
        data={"source": str(tmp_path / "d.npz"), "batch": 16, "limit_train": None,
              "limit_test": None},
        task={"kind": "regression"},
        gates={"max_metric_drop": 0.5},
        prune={"search.trials": 2, "exclude": []},
    )  # fmt: skip
    with pytest.raises(InputError, match="mean absolute error is none: take --max-metric-drop"):
        search(
            quick(**{**recipe.to_dict(), "gates": {"max_accuracy_drop": 1}}),
            RunDirectory(tmp_path / "refused"), Silent(),
        )  # fmt: skip
    found = search(recipe, RunDirectory(tmp_path / "out"), Silent())
    assert found == read_search(tmp_path / "out" / "search.json")
    assert (found.metric, found.dense_accuracy) == ("mean_absolute_error", None)
    assert not found.dense.higher_is_better
    assert found.chosen is not None
    for trial in found.trials:
        assert trial.accuracy is None
        assert trial.score is not None
        assert (trial.outcome == "holds") == (trial.score <= found.dense.value + 0.5)
    assert "0.5 worse than dense in mean absolute error" in found.why
    page = (tmp_path / "out" / "search.html").read_text()
    assert "Down and to the left is better" in page
    assert "%" not in found.why.partition(" worse")[0]
