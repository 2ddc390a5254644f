"""Puts networks of many structures through the installed program, a command each: the whole job,
the check of the package, and the replay of its golden samples by its own `infer.py`, in both forms.

    python tests/cli/run_networks.py [NAME ...]

Networks and data are made here; that of `bert` from a configuration, by transformers. The tasks but
classification are those of `tests/pipeline/tasks/run_pages.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.tests.cli.program import PROGRAM, environment

QUICK = ["--sparsity", "0.5", "--epochs", "1", "--set", "prune.steps=1"]
QUICK += ["--set", "prune.gradients=32", "--set", "validate.batches=1"]
QUICK += ["--set", "validate.runs=100"]


class Pair(nn.Module):
    """An image and numbers: a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(1, 16, 3), nn.Linear(5, 16), nn.Linear(32, 4)
        self.c = nn.Conv2d(16, 16, 3)

    def forward(self, image: Tensor, numbers: Tensor) -> Any:
        seen = self.c(self.a(image).relu()).relu().mean((2, 3))
        return self.head(torch.cat([seen, self.b(numbers).relu()], 1))


class Named(Pair):
    """The same by name, and its outputs by name."""

    def forward(self, image: Tensor, numbers: Tensor) -> Any:
        return {"logits": super().forward(image, numbers), "seen": self.a(image).mean((2, 3))}


class Reader(nn.Module):
    """A recurrent network, read in both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.LSTM(6, 16, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 4)

    def forward(self, series: Tensor) -> Any:
        return self.head(self.read(series)[0][:, -1])


class Attending(nn.Module):
    """`nn.MultiheadAttention`, alone and in the layer of PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(6, 16)
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, series: Tensor) -> Any:
        x = self.up(series)
        return self.head(self.layer(x + self.attend(x, x, x)[0]).mean(1))


class Volumes(nn.Module):
    """Convolutions in three dimensions, and a transposed one."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.Conv3d(8, 8, 3, 2, 1),
            nn.ReLU(), nn.ConvTranspose3d(8, 8, 2, 2), nn.ReLU(), nn.Conv3d(8, 8, 3),
        )  # fmt: skip
        self.head = nn.Linear(8, 4)

    def forward(self, volume: Tensor) -> Any:
        return self.head(self.body(volume).mean((2, 3, 4)))


def bert() -> nn.Module:
    """Tokens and their mask through a small BERT."""
    transformers = import_module("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=16, num_labels=4,
    )  # fmt: skip
    network: nn.Module = transformers.BertForSequenceClassification(config)
    return network


def data() -> tuple[list[Any], list[Any]]:
    """Return samples of four classes as the network that `NETWORK` names takes them."""
    generator = torch.Generator().manual_seed(0)
    samples = [(_inputs(os.environ["NETWORK"], generator, n % 4), n % 4) for n in range(96)]
    if os.environ["NETWORK"] in ("mappings", "bert"):
        rows = [{**inputs, "labels": label} for inputs, label in samples]
        return rows[:64], rows[64:]
    return samples[:64], samples[64:]


def _inputs(name: str, generator: torch.Generator, label: int) -> Any:
    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) + label

    if name == "bert":
        ids = torch.randint(12, (8,), generator=generator) + 12 * label
        return {"input_ids": ids, "attention_mask": torch.ones(8, dtype=torch.int64)}
    if name == "volumes":
        return normal(1, 6, 6, 6)
    if name in ("lstm", "attention"):
        return normal(7, 6)
    image, numbers = normal(1, 8, 8), normal(5)
    return {"image": image, "numbers": numbers} if name == "mappings" else (image, numbers)


NETWORKS = {
    "inputs": ("Pair", "a.weight c.weight b.weight"),
    "mappings": ("Named", "c.weight b.weight"),
    "bert": ("bert", "bert.encoder.layer.0.attention.self.query.weight bert.pooler.dense.weight"),
    "lstm": ("Reader", "read.weight_ih_l0 read.weight_hh_l1 read.weight_hh_l1_reverse"),
    "attention": ("Attending", "attend.in_proj_weight layer.self_attn.in_proj_weight"),
    "volumes": ("Volumes", "body.3.weight body.5.weight body.7.weight"),
}


def run(*command: str | Path) -> str:
    """Run a program, and return what it printed; end where it fails."""
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def job(name: str) -> str:
    """Put one network through the job in this folder; return what its package says of itself."""
    factory, pruned = NETWORKS[name]
    here = Path(__file__)
    run(PROGRAM, "prune-and-export", "--model", f"{here}:{factory}", "--data", f"{here}:data",
        "--weights", "random", *QUICK, "--out", "run")  # fmt: skip
    report = json.loads(Path("run/report.json").read_text())
    sparse = {each["name"] for each in report["layers"] if each["sparsity"] > 0}
    assert sparse & set(pruned.split()), (name, sparse)
    assert abs(report["sparsity"] - 0.5) < 0.01
    run(PROGRAM, "verify", "run/package.zip")
    unpack_archive(Path("run/package.zip"), Path("unpacked"))
    os.chdir("unpacked")
    said = run(sys.executable, "infer.py", "--self-test").strip().rpartition("\n")[2]
    _replay_arrays(json.loads(Path("manifest.json").read_text()))
    return said


def _replay_arrays(manifest: dict[str, Any]) -> None:
    """Give the golden inputs by name, as a user gives arrays, and compare every output."""

    def golden(of: str) -> dict[str, Any]:
        files = [of, *(f"{of}-{n}" for n in range(2, len(manifest[of]) + 1))]
        return {
            spec["name"]: np.load(f"golden/{file}.npy")
            for spec, file in zip(manifest[of], files, strict=True)
        }

    np.savez("samples.npz", **golden("inputs"))
    run(sys.executable, "infer.py", "samples.npz", "--out", "out.npz")
    given, wanted = np.load("out.npz"), golden("outputs")
    assert set(given) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(given[name], values, atol=1e-5)


def main() -> None:
    here = Path.cwd()
    for name in sys.argv[1:] or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            os.environ["NETWORK"] = name
            print(f"{name}: {job(name)}", flush=True)
            os.chdir(here)


if __name__ == "__main__":
    main()
