"""How long verifying a package of 100 MB takes, and how much memory.

    python benchmarks/verify_package.py

The built-in resnet50 with random weights, which deflate hardly, exported and packed with a
signature. ``wfpipe verify PACKAGE --public-key KEY`` runs five times, each in a process of its own,
from start to exit. The time is the median; the memory is the most that any of them held, all of it
counted: interpreter, packages, files mapped. The figure is the time in seconds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch

from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.packaging.signing import read_signing_key, write_key_pair
from wfpipe.models.resnet import resnet50

SIZE, RUNS = 64, 5
CHILD = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
sys.exit(code)
"""


def write_files(folder: Path) -> tuple[Path, Path]:
    """Return a signed package and the public key to it."""
    torch.manual_seed(0)
    module = resnet50(3, 1000).eval()
    samples = torch.randn(2, 3, SIZE, SIZE)
    export_onnx(module, samples, folder / "model.onnx", opset=20, metadata={})
    private, public = folder / "key.pem", folder / "key.pub.pem"
    write_key_pair(private, public)
    package = folder / "package.zip"
    write_package(
        package,
        model=folder / "model.onnx",
        golden_inputs=np.asarray(samples),
        report=None,
        sign=read_signing_key(private, "key"),
    )
    return package, public


def verify(package: Path, public: Path) -> tuple[float, int]:
    """Return seconds and peak bytes of one verification."""
    program = Path(sys.executable).with_name("wfpipe")
    command = [str(program), "verify", str(package), "--public-key", str(public)]
    begin = perf_counter()
    # A child starts from the peak of its parent: so a small one stands between.
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *command], capture_output=True, text=True, check=True
    )
    seconds = perf_counter() - begin
    said, peak = done.stdout.strip().rsplit("\n", 1)
    print(f"{seconds:.2f} s, {int(peak) / 1e6:.0f} MB: {said[:90]}…")
    return seconds, int(peak)


def main() -> None:
    """Pack, verify, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        package, public = write_files(Path(folder))
        size = package.stat().st_size
        measured = [verify(package, public) for _ in range(RUNS)]
    memory = max(peak for _, peak in measured) / 1e6
    print(f"package of {size / 1e6:.1f} MB: {memory:.0f} MB of memory at most (allowed: 300 MB)")
    print(f"figure: {median(seconds for seconds, _ in measured):.2f}")


if __name__ == "__main__":
    main()
