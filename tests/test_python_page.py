"""The page about Python: its blocks run in order, and do what the command does."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import wfpipe
from wfpipe.pipeline.runs.state import State

PAGE = Path(wfpipe.__file__).parent / "docs" / "python.md"

FACTORIES = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

def build():
    network = nn.Sequential(
        nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    network.load_state_dict(torch.load("trained.pt"))
    return network

def data():
    x, y = torch.load("samples.pt")
    return DataLoader(TensorDataset(x[:512], y[:512])), TensorDataset(x[512:], y[512:])
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page leaves, with its first result as ``first``."""
    folder = tmp_path_factory.mktemp("page")
    there: dict[str, Any] = {"folder": folder}
    torch.use_deterministic_algorithms(False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)):
            if number == 1:
                torch.save(there["network"].state_dict(), "trained.pt")
                torch.save((there["x"], there["y"]), "samples.pt")
            exec(code, there)
            if number == 1:
                there["first"] = there["result"]
                trained = torch.load("trained.pt")
                assert all(
                    torch.equal(value, trained[name])
                    for name, value in there["network"].state_dict().items()
                ), "the network was changed"
    there["deterministic"] = torch.are_deterministic_algorithms_enabled()
    return there


def test_objects_give_what_the_command_gives(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(page["folder"])
    Path("mine.py").write_text(FACTORIES)
    recipe = wfpipe.Recipe.model_validate(
        {
            "model": {"name": "mine.py:build"},
            "data": {"source": "mine.py:data"},
            "prune": {"sparsity": 0.8},
            "finetune": {"epochs": 4, "lr": 0.01},
            "validate": {"batches": [1], "runs": 100},
        }
    )
    capsys.readouterr()
    directory = wfpipe.RunDirectory(Path("runs/command"))
    report = wfpipe.prune_and_export(recipe, directory)
    assert json.loads(directory.report.read_text()) == report.to_json()
    assert capsys.readouterr().out == ""
    first = page["first"]
    for name in ("weights", "masks"):
        mine, other = (load_file(getattr(run, name)) for run in (first.run, directory))
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine)
    assert first.report.sparsity == report.sparsity == pytest.approx(0.8, abs=1e-3)
    assert first.report.pruned.metrics == report.pruned.metrics
    assert first.report.test_set == report.test_set
    state = load_file(directory.weights)
    assert all(torch.equal(v, state[name]) for name, v in first.module.state_dict().items())
    with pytest.raises(wfpipe.InputError, match=r"'python:Sequential' is an object of the program"):
        wfpipe.load(first.run.path)


def test_a_call_that_is_interrupted_goes_on_and_ends_with_the_same_bits(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(page["folder"])
    network = copy.deepcopy(page["network"])
    network.load_state_dict(torch.load("trained.pt"))
    save, saved = State.save, []
    torch.use_deterministic_algorithms(False)

    def interrupted(*arguments: Any) -> None:
        save(*arguments)
        saved.append(1)
        if len(saved) == 4:
            raise KeyboardInterrupt

    def call(**more: Any) -> Any:
        return wfpipe.compress(
            network, train=page["train"], test=page["test"], sparsity=0.8, epochs=4, lr=0.01,
            out="runs/interrupted", quiet=True, recipe={"validate": {"batches": [1], "runs": 100}},
            **more,
        )  # fmt: skip

    with monkeypatch.context() as patch:
        patch.setattr(State, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            call()
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(wfpipe.InputError, match="resume"):
        call()
    weights = load_file(call(resume=True).run.weights)
    wanted = load_file(page["first"].run.weights)
    assert all(torch.equal(weights[name], value) for name, value in wanted.items())


def test_results_are_on_the_disk_and_the_process_is_as_it_was(page: dict[str, Any]) -> None:
    first = page["first"]
    assert first.passed
    assert page["zeros"] >= first.report.sparsity * 64 * 64
    for file in (first.run.package, first.run.model, first.run.page):
        assert (page["folder"] / file).stat().st_size > 0
    assert not page["deterministic"]


def test_own_loop_ends_sparse_and_right_and_is_shipped_by_its_own_metric(
    page: dict[str, Any],
) -> None:
    pruner, network, x, y = (page[name] for name in ("pruner", "network", "x", "y"))
    assert pruner.finished
    assert pruner.sparsity == pytest.approx(0.8, abs=1e-3)
    right, learnt = (
        float((network(x[part]).argmax(1) == y[part]).double().mean())
        for part in (slice(512, None), slice(512))
    )
    assert learnt > 0.9
    report = page["result"].report
    assert report.pruned.metrics["share_right"].value == pytest.approx(right)
    assert report.sparsity == pytest.approx(pruner.sparsity)
    zeros = [network[i].weight == 0 for i in (0, 2)]
    assert all(
        torch.equal(page["result"].module[i].weight == 0, zero)
        for i, zero in zip((0, 2), zeros, strict=True)
    )
    assert "share right" in report.verdict.lower()
