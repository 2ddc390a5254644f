"""Whole channels through the installed program: a smaller network, the same each time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import nn

import wfpipe as package
from wfpipe.tests.cli.program import begin, wfpipe

QUICK = [
    "--pattern", "channel", "--set", "prune.gradients=16", "--set", "prune.refit_samples=64",
    "--set", "data.limit_train=400", "--set", "validate.batches=1", "--set", "validate.runs=100",
    "--set", "export.variants=[]",
]  # fmt: skip
JOB = ["prune-and-export", *QUICK, "--epochs", 2, "--set", "prune.steps=2"]
ONE_SHOT = ["--epochs", 0, "--set", "prune.recompute=2", "--set", "prune.correction_steps=5"]
FACTORY = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.f = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 10)
    def forward(self, x):
        return self.f({}.mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("channels")
    result = wfpipe(*JOB, "--out", "run", folder=folder)
    assert result.returncode == 0, result.stderr
    assert "of the MACs left" in result.stdout
    return folder / "run"


def test_exported_network_is_smaller(run):
    shapes = {}
    for name in ("dense", "model"):
        model = onnx.load(run / f"{name}.onnx")
        shapes[name] = sorted(tuple(t.dims) for t in model.graph.initializer if len(t.dims) == 4)
    assert shapes["model"] != shapes["dense"]
    assert (run / "model.onnx").stat().st_size < 0.75 * (run / "dense.onnx").stat().st_size
    report = json.loads((run / "report.json").read_text())
    assert 0.3 < report["sparsity"] < 0.9
    assert report["pruned"]["nonzeros"] < (1 - report["sparsity"] / 2) * report["dense"]["nonzeros"]


def test_loaded_module_gives_the_outputs_of_the_file_and_states_its_shapes(run):
    module = package.load(run)
    x = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(run / "model.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"input": x.numpy()})
    with torch.no_grad():
        given = module(x).numpy()
    assert np.abs(given - wanted).max() < 1e-4 * np.abs(wanted).max()
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert all(part.weight.shape[0] == part.out_channels for part in convolutions)
    with safe_open(run / "pruned.safetensors", framework="pt") as file:
        stated = json.loads(file.metadata()["wfpipe"])["shapes"]
        assert stated == {name: list(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118


def test_run_that_is_killed_and_continued_ends_with_the_same_bits(run, tmp_path):
    process = begin(*JOB, "--out", "run", folder=tmp_path)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 600
    while not log.exists() or len(log.read_text().splitlines()) < 3:  # dense, prune, epoch
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    result = wfpipe("prune-and-export", "--out", "run", "--resume", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("pruned.safetensors", "masks.safetensors", "model.onnx"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes(), name


def test_what_channels_have_left_is_pruned_by_a_second_pattern(tmp_path):
    job = [*QUICK, *ONE_SHOT, "--set", "prune.then=2:4", "--set", "prune.channel_multiple=4"]
    result = wfpipe("prune-and-export", *job, "--out", "run", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    module = package.load(tmp_path / "run")
    convolutions = [part for part in module.modules() if isinstance(part, nn.Conv2d)]
    cut = [part.weight for part in convolutions if part.in_channels % 4 == 0]
    assert cut
    for weight in cut:
        fours = weight.detach().unflatten(1, (-1, 4)) != 0
        assert bool((fours.sum(2) <= 2).all())
        assert weight.shape[0] % 4 == 0
    sparsity = json.loads((tmp_path / "run" / "report.json").read_text())["sparsity"]
    assert sparsity > 0.6


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            ["--set", "prune.channel_multiple=512"],
            ["prune.max_macs=0.5", "cannot be met", "multiples of 512", "below 512"],
        ),
        (["--set", "prune.max_macs=0.0001"], ["prune.max_macs=0.0001", "at least"]),
        (["--set", "prune.max_macs=1.5"], ["prune.max_macs", "less than 1"]),
        (["--sparsity", "0.5", "--set", "prune.max_macs=0.5"], ["max_macs", "sparsity=0.5"]),
        (["--set", "prune.update=joint"], ["update=none or refit", "joint"]),
        (["--criterion", "kfac"], ["criterion", "kfac"]),
        (["--set", "prune.swaps=2"], ["swaps"]),
        (["--set", "prune.allocation=erk"], ["no allocation", "erk"]),
        (["--set", "prune.exclude=*"], ["prune"]),
        (["--set", "prune.then=unstructured"], ["then=unstructured", "then_sparsity"]),
        (["--set", "prune.then=channel"], ["then must be", "channel"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_makes_no_sense_is_one_line(settings, words, tmp_path):
    result = wfpipe("prune", "--pattern", "channel", *settings, "--out", "run", folder=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("torch.cumsum(self.b(self.a(x)), 1)", ["aten.cumsum.default"]),
        ("self.b(self.a(x)) if x.sum() > 0 else self.b(self.a(x) + 1)", ["torch.export"]),
    ],
)
def test_network_that_cannot_be_followed_is_one_line(expression, words, tmp_path):
    (tmp_path / "net.py").write_text(FACTORY.format(f"({expression})"))
    result = wfpipe("prune", *QUICK, "--model", "net.py:build", "--out", "run", folder=tmp_path)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_width_that_the_code_counts_on_stays_and_is_named(tmp_path, monkeypatch):
    x = "self.b(self.a(x).reshape(x.shape[0], 8, 36).view(x.shape[0], 8, 6, 6))"
    source = FACTORY.format(x).replace("nn.Conv2d(8, 8, 3)", "nn.Conv2d(8, 12, 3)")
    (tmp_path / "net.py").write_text(source.replace("nn.Linear(8, 10)", "nn.Linear(12, 10)"))
    result = wfpipe(
        "prune", *QUICK, *ONE_SHOT, "--model", "net.py:build", "--set", "prune.max_macs=0.8",
        "--out", "run", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "the channels of a.weight stay" in result.stderr
    monkeypatch.chdir(tmp_path)
    module: Any = package.load("run")
    assert module.a.out_channels == 8
