"""What the forms of a pruned ResNet-20 cost and gain, through the program itself.

    python benchmarks/variants.py DATA int8      points that int8 loses against the plain file
    python benchmarks/variants.py DATA sparse    sparse file / dense file
    python benchmarks/variants.py DATA package   package / dense model, both deflated

DATA is the folder of ``resnet20_cifar10.py``, whose job ``gradual`` is run, with all forms: 90 % of
the prunable weights are zero, with fine-tuning. With ``--out RUN`` the run is kept, and a run that
is there serves for the other figures. Also checked: every pruned weight stays zero in eight bits,
and the sparse file's outputs are those of the plain one to the bit.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from wfpipe.benchmarks.resnet20_cifar10 import run, unpacked
from wfpipe.exporters.reading.onnx_graph import read_model
from wfpipe.exporters.variants.int8 import check_zeros_kept

FORMS = "export.variants=[sparse,int8,fp16,ort]"


def main() -> None:
    """Run the job unless it is there, and print the figure that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path, help="folder of the archive and the weights")
    parser.add_argument("figure", choices=FIGURES)
    parser.add_argument("--out", type=Path, help="folder of the run, kept")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder) / "run"
        if not (out / "package.zip").exists():
            with unpacked(arguments.data) as images:
                run("gradual", arguments.data, images, out, seed=0, values=[FORMS])
        report = json.loads((out / "report.json").read_text())
        figure = FIGURES[arguments.figure](report, out)
    print(f"figure: {figure:.3f}")


def points_lost(report: dict[str, Any], out: Path) -> float:
    """Return by how many points the int8 form is less accurate than the plain file."""
    plain, path = out / "model.onnx", out / "model.int8.onnx"
    kept, total = check_zeros_kept(read_model(plain), plain, read_model(path), path)
    print(f"zeros: all {kept} zeros of the plain file are zero in int8, and {total - kept} more")
    quantised = report["variants"]["int8"]["figures"]["accuracy"]
    print(f"accuracy: {report['pruned']['accuracy']:.2f} % plain, {quantised:.2f} % int8")
    return float(report["pruned"]["accuracy"] - quantised)


def share_of_dense(report: dict[str, Any], _: Path) -> float:
    """Return the size of the sparse file, the dense one being 1."""
    sparse = report["variants"]["sparse"]
    if sparse["parity"] != 0:
        raise SystemExit(f"outputs differ by {sparse['parity']} of the largest")
    print("outputs: those of the plain file, to the bit")
    return float(sparse["figures"]["file_bytes"] / report["dense"]["file_bytes"])


def package_of_dense(report: dict[str, Any], out: Path) -> float:
    """Return the size of the package, the deflated dense model being 1."""
    size, dense = (out / "package.zip").stat().st_size, report["dense"]["deflated_bytes"]
    print(f"package.zip: {size} bytes, dense.onnx: {dense} bytes deflated")
    return float(size / dense)


FIGURES = {"int8": points_lost, "sparse": share_of_dense, "package": package_of_dense}


if __name__ == "__main__":
    main()
