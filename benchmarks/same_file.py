"""How often a file is called faster or slower than a copy of itself.

    python benchmarks/same_file.py

The demo's dense network and a copy are measured as any two models are, again and again. An interval
of 95 % that excludes 1 would claim a difference that is not there. The figure is the share of such
claims, in %; 5 is what the intervals promise.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wfpipe.exporters.documents.statistics import speedup
from wfpipe.exporters.measuring.denormals import flushing
from wfpipe.exporters.measuring.latency import measure_in_sittings
from wfpipe.exporters.measuring.session import SessionSettings, default_threads, open_session
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.models.digits_cnn import DigitsCnn

RUNS = 200  # as in the default recipe


def main() -> None:
    """Measure, and print each ratio and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=40, help="measurements (default: 40)")
    times = parser.parse_args().times
    settings = SessionSettings("cpu", default_threads())
    samples = np.random.default_rng(0).random((32, 1, 8, 8), dtype=np.float32)
    claims = 0
    with tempfile.TemporaryDirectory() as folder:
        one, other = Path(folder) / "one.onnx", Path(folder) / "other.onnx"
        export_onnx(DigitsCnn(1, 10), torch.zeros(2, 1, 8, 8), one, opset=20, metadata={})
        shutil.copy(one, other)
        openers = {path.stem: partial(open_session, path, settings) for path in (one, other)}
        for seed in range(times):
            with flushing(settings.flush_denormals):
                measured = measure_in_sittings(
                    openers, samples, batch_sizes=[1], runs=RUNS, seed=seed
                )
            ratio = speedup(measured["one"][1], measured["other"][1], seed)
            claims += ratio.low > 1 or ratio.high < 1
            print(f"{ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f})", flush=True)
    print(f"figure: {100 * claims / times:.1f}")


if __name__ == "__main__":
    main()
