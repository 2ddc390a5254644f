"""What the forms of a pruned ResNet-20 cost and gain, through the program itself.

    python benchmarks/variants.py DATA int8      points lost by quantisation (half of the weights 0)
    python benchmarks/variants.py DATA sparse    sparse file / dense file at 90 % sparsity

DATA is the folder of ``resnet20_cifar10.py``. Weights are pruned by magnitude in one step, without
training. Also checked: every pruned weight stays zero in eight bits, and the sparse file's outputs
are those of the plain one to the bit.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from wfpipe.benchmarks.resnet20_cifar10 import ARCHIVE, COMMON, WEIGHTS
from wfpipe.exporters.onnx_graph import read_model
from wfpipe.exporters.variants.int8 import check_zeros_kept

SPARSITY = {"int8": "0.5", "sparse": "0.9"}
FORMS = "export.variants=[sparse,int8,fp16,ort]"


def main() -> None:
    """Run the job that the command line names, print its forms and its figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the archive and the weights")
    parser.add_argument("form", choices=SPARSITY)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    missing = [n for n in (ARCHIVE, WEIGHTS) if not (arguments.data / n).is_file()]
    if missing:
        print(f"left out: {arguments.data} holds no {' and no '.join(missing)}")
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(arguments.data / ARCHIVE) as archive:
            archive.extractall(folder, filter="data")
        out = Path(folder) / "run"
        run(arguments, Path(folder) / "cifar10", out)
        report = json.loads((out / "report.json").read_text())
        figure = FIGURES[arguments.form](report, out)
    print(f"figure: {figure:.3f}")


def run(arguments: argparse.Namespace, images: Path, out: Path) -> None:
    """Run the program, its lines on this terminal."""
    command = [sys.executable, "-m", "wfpipe.cli.main", "prune-and-export"]
    command += ["--model", "resnet20", "--weights", str(arguments.data / WEIGHTS)]
    command += ["--data", str(images), "--out", str(out), "--epochs", "0"]
    command += ["--criterion", "magnitude", "--sparsity", SPARSITY[arguments.form]]
    for value in [*COMMON, "prune.refresh_batchnorm=false", FORMS, *arguments.set]:
        command += ["--set", value]
    subprocess.run(command, check=True)


def points_lost(report: dict[str, Any], out: Path) -> float:
    """Return by how many points the int8 form is less accurate than the plain file."""
    plain, path = out / "model.onnx", out / "model.int8.onnx"
    kept, total = check_zeros_kept(read_model(plain), plain, read_model(path), path)
    print(
        f"zeros: all {kept} of the plain file's weights are zero in int8, and {total - kept} more"
    )
    quantised = report["variants"]["int8"]["figures"]["accuracy"]
    return float(report["pruned"]["accuracy"] - quantised)


def share_of_dense(report: dict[str, Any], _: Path) -> float:
    """Return the size of the sparse file, the dense one being 1."""
    sparse = report["variants"]["sparse"]
    if sparse["parity"] != 0:
        raise SystemExit(f"outputs differ by {sparse['parity']} of the largest")
    print("outputs: those of the plain file, to the bit")
    return float(sparse["figures"]["file_bytes"] / report["dense"]["file_bytes"])


FIGURES = {"int8": points_lost, "sparse": share_of_dense}


if __name__ == "__main__":
    main()
