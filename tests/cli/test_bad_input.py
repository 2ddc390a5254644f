"""Every bad input: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wfpipe.tests.cli.program import environment, server, wfpipe
from wfpipe.tests.exporters.package_samples import make_report

Arguments = list[object]
Case = tuple[Callable[[Path], Arguments], list[str]]


class Harmful:
    """Unpickling this writes a file."""

    def __reduce__(self):
        return eval, ("open('code-was-run', 'w')",)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def image_folder(root: Path, classes: int = 2, images: int = 2) -> Path:
    for split in ("train", "test"):
        for label in range(classes):
            for number in range(images):
                path = root / split / f"class{label}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 40 * label + number).save(path)
    return root


def empty_folder(root: Path) -> Path:
    for image in image_folder(root).rglob("*.png"):
        image.rename(image.with_suffix(".txt"))
    return root


def arrays(path: Path, **changes: object) -> Path:
    """An .npz of digits-like data with some arrays changed, or left out when None."""
    content: dict[str, object] = {
        "x_train": np.zeros((20, 8, 8), np.uint8),
        "y_train": np.arange(20) % 10,
        "x_test": np.zeros((20, 8, 8), np.uint8),
        "y_test": np.arange(20) % 10,
    }
    content.update(changes)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in content.items() if value is not None})  # type: ignore[arg-type]
    return write(path, buffer.getvalue())


def checkpoint(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def corrupt(folder: Path) -> Path:
    write(image_folder(folder / "d") / "train" / "class0" / "0.png", b"\x89PNG but not really")
    return folder / "d"


def nan_features() -> np.ndarray:
    x = np.zeros((20, 64), np.float32)
    x[3, 4] = np.nan
    return x


def numbers(path: Path) -> Path:
    x, y = np.eye(20, 64, dtype=np.float32), np.arange(20, dtype=np.float32)
    return arrays(path, x_train=x, y_train=y, x_test=x, y_test=y)


def factory(folder: Path, body: str) -> str:
    write(folder / "net.py", f"import torch.nn as nn\n{body}\n".encode())
    return f"{folder / 'net.py'}:build"


def model(folder: Path, body: str) -> Arguments:
    return ["--model", factory(folder, body)]


def weights(path: Path) -> Arguments:
    return ["--weights", path]


def data(path: object, *more: object) -> Arguments:
    return ["--data", path, *more]


FROZEN = """
def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).requires_grad_(False)
"""

CASES: dict[str, Case] = {
    "unknown model": (lambda _: ["--model", "resnet-20"], ["'resnet-20'", "'resnet20'"]),
    "unknown data set": (lambda _: ["--data", "digit"], ["'digit'", "'digits'"]),
    "unknown criterion": (lambda _: ["--criterion", "woodfish"], ["'woodfisher'"]),
    "unknown pattern": (lambda _: ["--pattern", "unstructred"], ["unstructured, channel, N:M"]),
    "pattern that keeps more than there is": (lambda _: ["--pattern", "4:2"], ["'4:2'", "N < M"]),
    "pattern that fits no layer": (lambda _: ["--pattern", "3:7"], ["3:7", "multiple of 7"]),
    "sparsity that a pattern does not have": (
        lambda _: ["--pattern", "2:4", "--sparsity", "0.9"],
        ["2:4", "0.5", "0.9"],
    ),
    "layer that is not there": (
        lambda _: ["--set", "prune.layers={layer9: 0.5}"],
        ["'layer9'", "conv2.weight"],
    ),
    "floor above what the sparsity leaves": (
        lambda _: ["--set", "prune.min_kept=0.5"],
        ["sparsity must be in [0, 0.5]", "0.9"],
    ),
    "target in operations out of reach": (
        lambda _: ["--set", "prune.allocation=flops", "--set", "prune.max_macs=0.0001"],
        ["max_macs must be in", "0.0001"],
    ),
    "exchanges that cannot be": (
        lambda _: ["--criterion", "magnitude", "--set", "prune.swaps=2"],
        ["swaps need"],
    ),
    "unknown recipe key": (lambda _: ["--set", "prune.dampng=1"], ["'prune.damping'"]),
    "unknown section": (lambda _: ["--set", "prun.damping=1"], ["'prune'"]),
    "unknown option": (lambda _: ["--sparsty", "0.9"], ["--sparsity"]),
    "device that is not there": (lambda _: ["--device", "cuda:7"], ["'cuda:7'", "--device cpu"]),
    "unknown device": (lambda _: ["--device", "tpu"], ["'tpu'"]),
    "sparsity of 1": (lambda _: ["--sparsity", 1], ["prune.sparsity", "less than 1"]),
    "sparsity of 0": (lambda _: ["--sparsity", 0], ["prune.sparsity", "greater than 0"]),
    "sparsity that is no number": (lambda _: ["--sparsity", "many"], ["'many'"]),
    "negative epochs": (lambda _: ["--epochs", -1], ["finetune.epochs", "-1"]),
    "steps beyond epochs": (
        lambda _: ["--epochs", 2, "--set", "prune.steps=3"],
        ["prune.steps", "(2)", "3"],
    ),
    "negative damping": (lambda _: ["--set", "prune.damping=-1"], ["prune.damping", "-1"]),
    "pattern that matches nothing": (
        lambda _: ["--set", "prune.include=layer9.*"],
        ["'layer9.*'", "conv2.weight"],
    ),
    "memory budget too small": (
        lambda _: ["--set", "prune.fisher_memory=1MiB"],
        ["prune.gradients", "1.0 MiB"],
    ),
    "memory budget that is none": (
        lambda _: ["--set", "prune.fisher_memory=lots"],
        ["prune.fisher_memory", "'lots'"],
    ),
    "resume and overwrite": (
        lambda _: ["--resume", "--overwrite", "--out", "x"],
        ["exclude each other"],
    ),
    "resume without a folder": (lambda _: ["--resume"], ["--out"]),
    "resume where no run is": (
        lambda p: ["--resume", "--out", p / "nowhere"],
        ["holds no run"],
    ),
    "missing recipe": (lambda p: ["--recipe", p / "r.yaml"], ["r.yaml", "does not exist"]),
    "empty recipe": (lambda p: ["--recipe", write(p / "r.yaml", b"")], ["r.yaml", "empty"]),
    "truncated recipe": (
        lambda p: ["--recipe", write(p / "r.yaml", b"prune: {spars")],
        ["r.yaml", "not valid YAML"],
    ),
    "wrong recipe": (
        lambda p: ["--recipe", write(p / "r.yaml", bytes(range(256)))],
        ["r.yaml", "not valid YAML"],
    ),
    "no weights": (lambda _: ["--model", "mlp"], ["--weights"]),
    "missing weights": (lambda p: weights(p / "w.pth"), ["w.pth", "does not exist"]),
    "empty weights": (lambda p: weights(write(p / "w.pth", b"")), ["w.pth", "empty"]),
    "weights that are text": (lambda p: weights(write(p / "w.pth", b"hello")), ["w.pth"]),
    "truncated safetensors": (
        lambda p: weights(write(p / "w.safetensors", b"\x40\0\0\0\0\0\0\0{")),
        ["w.safetensors"],
    ),
    "weights that run code": (
        lambda p: weights(write(p / "w.pth", pickle.dumps(Harmful(), protocol=2))),
        ["w.pth", "code"],
    ),
    "weights of another architecture": (
        lambda p: weights(checkpoint(p / "w.pth", {"layer.weight": torch.ones(2, 2)})),
        ["layer.weight", "conv1.weight"],
    ),
    "missing folder": (lambda p: data(p / "nowhere"), ["nowhere", "does not exist"]),
    "folder without images": (
        lambda p: data(empty_folder(p / "d")),
        ["no image"],
    ),
    "folder of one class": (lambda p: data(image_folder(p / "d", classes=1)), ["one class"]),
    "unreadable image": (
        lambda p: data(corrupt(p), "--model", "mlp", "--weights", "random"),
        ["0.png", "--skip-bad-images"],
    ),
    "missing arrays": (lambda p: data(arrays(p / "a.npz", y_test=None)), ["a.npz", "y_test"]),
    "mismatched lengths": (
        lambda p: data(arrays(p / "a.npz", y_train=np.arange(19) % 10)),
        ["a.npz", "19", "20"],
    ),
    "features with NaN": (
        lambda p: data(arrays(p / "a.npz", x_train=nan_features(), x_test=nan_features())),
        ["a.npz", "x_train"],
    ),
    "empty arrays file": (lambda p: data(write(p / "a.npz", b"")), ["a.npz", "empty"]),
    "truncated arrays file": (
        lambda p: data(write(p / "a.npz", arrays(p / "b.npz").read_bytes()[:200])),
        ["a.npz"],
    ),
    "arrays with objects": (
        lambda p: data(arrays(p / "a.npz", x_train=np.array([Harmful()] * 20, object))),
        ["a.npz", "x_train"],
    ),
    "more classes than outputs": (
        lambda p: [
            *data("digits"),
            *model(p, "def build(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 9))"),
        ],
        ["9 scores", "10 classes"],
    ),
    "outputs that are no scores": (
        lambda p: model(p, "def build(): return nn.Conv2d(1, 10, 3)"),
        ["(samples, classes)"],
    ),
    "samples that do not fit": (
        lambda p: model(p, "def build(): return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))"),
        ["(1, 8, 8)"],
    ),
    "model file missing": (lambda p: ["--model", f"{p / 'no.py'}:build"], ["no.py", "exist"]),
    "model file that fails": (lambda p: model(p, "1 / 0"), ["net.py", "line 2", "ZeroDivision"]),
    "factory missing": (lambda p: model(p, "def built(): pass"), ["'build'", "'built'"]),
    "factory that returns no model": (lambda p: model(p, "def build(): return 3"), ["int"]),
    "out is a file": (lambda p: ["--out", write(p / "taken", b"x")], ["taken", "is a file"]),
    "out below a file": (lambda p: ["--out", write(p / "taken", b"x") / "run"], ["taken"]),
    "no permission on out": (lambda _: ["--out", "/sys/wfpipe-run"], ["cannot write", "/sys"]),
    "network with nothing to train": (
        lambda p: model(p, FROZEN),
        ["all parameters are frozen", "--epochs 0"],
    ),
    "provider that is not there": (
        lambda _: ["--set", "validate.provider=cuda"],
        ["provider 'cuda'"],
    ),
    "sparsity that leaves nothing": (
        lambda _: ["--sparsity", 0.9999999],
        ["73728 of them"],
    ),
    "baseline on another test set": (
        lambda p: [
            "--baseline",
            write(p / "r.json", json.dumps(make_report(gates=[]).to_json()).encode()),
        ],
        ["r.json", "360 samples there, 359 here"],
    ),
    "points of a metric that is no share": (
        lambda p: [
            *model(p, "def build(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 1))"),
            *data(numbers(p / "a.npz"), "--task", "regression", "--max-accuracy-drop", 1),
        ],
        ["max_accuracy_drop", "mean absolute error is none", "max_metric_drop"],
    ),
    "lengths of what is no sequence": (
        lambda _: ["--set", "validate.lengths=4"],
        ["validate.lengths", "export.dynamic=sequence"],
    ),
    "a training split too small": (lambda _: ["--set", "data.limit_train=3"], ["10", "3"]),
}
if torch.cuda.is_available():
    del CASES["provider that is not there"]


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(result: subprocess.CompletedProcess[str], words: list[str]) -> None:
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert "Traceback" not in result.stderr
    assert len(lines) == 1, lines
    assert lines[0].startswith("wfpipe: error:")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_leaves_nothing(name, tmp_path):
    build, words = CASES[name]
    arguments = build(tmp_path)
    before = files_in(tmp_path)
    result = wfpipe("prune-and-export", *arguments, folder=tmp_path)
    check(result, words)
    assert files_in(tmp_path) == before


def test_no_space_for_the_run_is_one_line_and_leaves_no_part_of_a_file(tmp_path):
    job = ["prune-and-export", "--out", "run"]
    result = server().run(job, tmp_path, environment(), largest_file=100_000)
    check(result, ["cannot write", "dense.onnx", "File too large"])
    assert files_in(tmp_path) == {}


def test_bad_images_can_be_skipped_and_are_counted(tmp_path):
    result = wfpipe(
        "prune", "--data", corrupt(tmp_path), "--skip-bad-images", "--model", "mlp",
        "--weights", "random", "--epochs", 0, "--criterion", "magnitude",
        "--set", "prune.exclude=[]", folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "1 of 4 train images are left out" in result.stderr
    assert "0.png" in result.stderr
