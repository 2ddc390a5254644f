"""ResNet-20 on CIFAR-10 through the program itself: the whole job, or one-shot pruning.

    python benchmarks/resnet20_cifar10.py DATA gradual    90 % sparsity in 4 epochs of 10,000 images
    python benchmarks/resnet20_cifar10.py DATA at-once    90 % before 2 epochs of 50,000 images
    python benchmarks/resnet20_cifar10.py DATA at-once-magnitude    the same schedule, by magnitude
    python benchmarks/resnet20_cifar10.py DATA oneshot    80 % of the block convolutions, 0 epochs

DATA holds ``cifar10-jpeg.tar.xz`` (an image folder of 32 × 32 images) and the trained
``resnet20_cifar10.pth.tar``. The figure is the accuracy in ONNX Runtime on the test images, in %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

ARCHIVE, WEIGHTS = "cifar10-jpeg.tar.xz", "resnet20_cifar10.pth.tar"
COMMON = ["data.mean=0.5", "data.std=0.5"]
AT_ONCE = [
    "data.augment=flip",
    "data.batch=64",
    "prune.steps=1",
    "finetune.lr=0.02",
    "finetune.weight_decay=0.0005",
]
JOBS = {
    "gradual": (
        ["--sparsity", "0.9", "--epochs", "4"],
        [
            "data.limit_train=10000",
            "data.augment=flip",
            "data.batch=32",
            "prune.steps=3",
            "prune.recompute=4",
        ],
    ),
    "at-once": (
        ["--sparsity", "0.9", "--epochs", "2"],
        [*AT_ONCE, "prune.preset=oneshot", "prune.criterion=woodfisher"],
    ),
    "at-once-magnitude": (
        ["--sparsity", "0.9", "--epochs", "2"],
        [*AT_ONCE, "prune.criterion=magnitude", "prune.update=none"],
    ),
    "oneshot": (
        ["--sparsity", "0.8", "--epochs", "0"],
        [
            "prune.include=layer*.conv*.weight",
            "prune.preset=standard",
            "prune.recompute=8",
            "prune.gradients=300",
            "prune.refresh_batchnorm=false",
        ],
    ),
}


def main() -> None:
    """Run the job that the command line names, print its table and its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the archive and the weights")
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    with unpacked(arguments.data) as images:
        out = images.parent / "run"
        seconds = run(arguments.job, arguments.data, images, out, arguments.seed, arguments.set)
        report = json.loads((out / "report.json").read_text())
    print(f"time of the whole job: {seconds:.0f} s")
    print(f"figure: {report['pruned']['accuracy']:.2f}")


@contextmanager
def unpacked(data: Path) -> Iterator[Path]:
    """Yield the folder of the images; where DATA lacks a file, say so and end the program."""
    missing = [name for name in (ARCHIVE, WEIGHTS) if not (data / name).is_file()]
    if missing:
        print(f"left out: {data} holds no {' and no '.join(missing)}")
        raise SystemExit(0)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(data / ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder) / "cifar10"


def run(
    job: str, data: Path, images: Path, out: Path, seed: int, values: Sequence[str] = ()
) -> float:
    """Run a job through the program, its lines on this terminal; return the seconds it took."""
    flags, settings = JOBS[job]
    command = [sys.executable, "-m", "wfpipe.cli.main", "prune-and-export"]
    command += ["--model", "resnet20", "--weights", str(data / WEIGHTS)]
    command += ["--data", str(images), "--out", str(out), "--seed", str(seed), *flags]
    for value in [*COMMON, *settings, *values]:
        command += ["--set", value]
    begin = perf_counter()
    subprocess.run(command, check=True)
    return perf_counter() - begin


if __name__ == "__main__":
    main()
