"""A network of many kinds of weights, wrapped and frozen, through the whole job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.tests.cli.program import wfpipe

NETWORK = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Parameter(torch.randn(8, 16) / 3)
        self.lstm = nn.LSTM(16, 12, batch_first=True)
        self.trunk = nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.unused = nn.Linear(12, 30)
        self.head = nn.Linear(12, 10)
        self.gate = nn.Parameter(torch.ones(8, 16))

    def forward(self, x):
        x = self.lstm(x[:, 0] @ self.words * self.gate)[0]
        return self.head(self.frozen(self.trunk(x).relu()).relu().mean(1))

def build():
    torch.manual_seed(0)
    return nn.DataParallel(Net())

def frozen():
    return Net().requires_grad_(False)
"""
QUICK = ["--set", "prune.gradients=16", "--set", "prune.steps=1", "--set", "validate.runs=100"]
QUICK += ["--set", "validate.batches=1"]
QUICK += ["--set", "data.limit_train=200", "--set", "prune.refit_samples=64", "--epochs", "1"]


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "net.py").write_text(NETWORK)
    options = ["--model", "net.py:build", *QUICK, "--sparsity", "0.5", "--min-sparsity", "0.5"]
    result = wfpipe("prune-and-export", *options, "--out", "run", folder=folder)
    return folder / "run", result.returncode, result.stdout + result.stderr


def test_the_gate_is_held_against_all_weights_of_the_file(job):
    run, code, said = job
    report = json.loads((run / "report.json").read_text())
    total = 8 * 16 + 48 * (16 + 12) + 2 * 144 + 120 + 8 * 16
    assert report["file_weights"] == total
    assert report["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert report["file_sparsity"] == pytest.approx(0.5 * (1 - (120 + 8 * 16) / total), abs=1e-3)
    dense = [{"name": "gate", "weights": 128}, {"name": "head.weight", "weights": 120}]
    assert report["stays_dense"] == dense
    assert report["gates"][0]["got"] == pytest.approx(report["file_sparsity"])
    assert code == 3, said
    assert "Without a zero: gate (128), head.weight (120)" in (run / "report.html").read_text()
    assert "min_sparsity: wanted at least 50.00 %" in said


def test_all_kinds_are_pruned_and_what_is_not_is_named(job):
    run, _, said = job
    layers = {
        x["name"]: x["sparsity"] for x in json.loads((run / "report.json").read_text())["layers"]
    }
    pruned = {"words", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "trunk.weight", "frozen.weight"}
    assert {name for name, share in layers.items() if share > 0.05} == pruned
    for words in (
        "folded WeightNorm into the weights of trunk",
        "stays dense: head.weight (120): prune.exclude",
        "stays dense: gate (128): the network multiplies with it element by element",
        "stays dense: unused.weight (360): the network does not use it",
        "frozen (requires_grad=False): frozen.weight (144)",
    ):
        assert words in said


def test_the_package_is_right_though_a_gate_failed_and_resuming_fails_it_again(job):
    run, _, _ = job
    assert verify_package(run / "package.zip")
    share = 100 * json.loads((run / "report.json").read_text())["file_sparsity"]
    assert f"{share:.2f} % of all weights of the model" in (run / "MODEL_CARD.md").read_text()
    assert wfpipe("prune-and-export", "--out", run, "--resume").returncode == 3


def test_a_network_with_nothing_to_train_is_refused_where_it_would_be(job, tmp_path):
    options = ["--model", f"{job[0].parent / 'net.py'}:frozen", *QUICK, "--out", tmp_path / "run"]
    result = wfpipe("prune-and-export", *options)
    assert result.returncode == 2
    assert "all parameters are frozen" in result.stderr
