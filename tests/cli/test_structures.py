"""Mappings in and out, tokens, a loader's own collate function, auxiliary outputs, a class for each
pixel: one job through the installed program, and its package."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import wfpipe as package
from wfpipe.tests.cli.program import environment, wfpipe

FACTORIES = """
import torch
from torch import nn
from torch.utils.data import DataLoader

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.b = nn.Embedding(5, 8), nn.Linear(8, 8)
        self.a = nn.Conv2d(1, 8, 3, padding=1)
        self.side, self.head = nn.Conv2d(8, 2, 1), nn.Conv2d(8, 2, 1)
    def forward(self, image, tokens):
        words = self.embed(tokens)
        words = nn.functional.scaled_dot_product_attention(self.b(words), words, words).mean(1)
        x = self.a(image).relu()
        out = {"features": x.mean((2, 3)), "mask": self.head(x + words[:, :, None, None])}
        return {**out, "aux": self.side(x)} if self.training else out

def build():
    torch.manual_seed(0)
    return Net()

def together(samples):
    image, tokens, mask = (torch.stack(parts) for parts in zip(*samples))
    return {"image": image.double(), "tokens": tokens, "labels": mask}

def data():
    g = torch.Generator().manual_seed(1)
    image, tokens = torch.randn(96, 1, 6, 6, generator=g), torch.randint(5, (96, 3), generator=g)
    every = list(zip(image, tokens, (image[:, 0] > 0).long()))
    return [DataLoader(part, 4, collate_fn=together) for part in (every[:64], every[64:])]
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structures")
    (folder / "mine.py").write_text(FACTORIES)
    result = wfpipe(
        "prune-and-export", "--model", "mine.py:build", "--data", "mine.py:data", "--task",
        "segmentation", "--set", "task.output=mask", "--epochs", 1, "--sparsity", 0.5,
        "--max-metric-drop", 60, "--max-accuracy-drop", 60, "--set", "prune.gradients=16",
        "--variants", "sparse-cpu,int8",
        "--set", "validate.batches=1", "--set", "validate.runs=100", "--out", "run", folder=folder,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "dense mean intersection over union: " in result.stdout
    return folder / "run"


def test_file_has_the_inputs_and_outputs_of_the_network_by_name(run: Path) -> None:
    graph = onnx.load(run / "model.onnx").graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    assert kinds == {"image": onnx.TensorProto.FLOAT, "tokens": onnx.TensorProto.INT64}
    assert [value.name for value in graph.output] == ["features", "mask"]
    first = [value.type.tensor_type.shape.dim[0].dim_param for value in graph.input]
    assert first == ["batch", "batch"]


def test_report_page_card_and_gates_speak_of_the_metric(run: Path) -> None:
    report: dict[str, Any] = json.loads((run / "report.json").read_text())
    metrics = report["dense"]["metrics"]
    assert report["dense"]["accuracy"] is None
    assert list(metrics) == ["mean_iou", "pixel_accuracy"]
    assert metrics["mean_iou"]["unit"] == "%"
    assert [form["failure"] for form in report["variants"].values()] == [None, None]
    assert [gate["name"] for gate in report["gates"]] == ["max_accuracy_drop", "max_metric_drop"]
    words = "mean intersection over union"
    for text in (report["verdict"], (run / "report.html").read_text(),
                 (run / "MODEL_CARD.md").read_text()):  # fmt: skip
        assert words in text.lower()
        assert "accuracy is" not in text.lower()


def test_validation_takes_the_task_that_the_file_states(run: Path) -> None:
    result = wfpipe(
        "validate", "run/model.onnx", "--against", "run/dense.onnx", "--data", "mine.py:data",
        "--set", "validate.batches=1", "--set", "validate.runs=100", "--json", folder=run.parent,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads((run / "report.json").read_text())
    assert json.loads(result.stdout)["pruned"]["metrics"] == report["pruned"]["metrics"]


def test_package_verifies_and_runs_on_arrays_by_name(run: Path, tmp_path: Path) -> None:
    verified = wfpipe("verify", run / "package.zip")
    assert verified.returncode == 0, verified.stderr
    with zipfile.ZipFile(run / "package.zip") as archive:
        archive.extractall(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["task"], manifest["output"]) == ("segmentation", "mask")

    def infer(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "infer.py", *arguments], capture_output=True, text=True,
            cwd=tmp_path, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "self-test passed" in infer("--self-test")
    image, tokens = (np.load(tmp_path / "golden" / name) for name in ("inputs.npy", "inputs-2.npy"))
    np.savez(tmp_path / "samples.npz", image=image, tokens=tokens)
    assert "mask of shape (2, 6, 6)" in infer("samples.npz", "--out", "out.npz")
    np.testing.assert_allclose(
        np.load(tmp_path / "out.npz")["mask"], np.load(tmp_path / "golden" / "outputs-2.npy"),
        atol=1e-5,
    )  # fmt: skip


def test_run_is_loaded_as_the_users_own_network(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(run.parent)
    outputs = package.load(run)(torch.zeros(1, 1, 6, 6), torch.zeros(1, 3, dtype=torch.int64))
    assert set(outputs) == {"features", "mask"}
