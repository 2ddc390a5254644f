"""How near a search comes to a target in milliseconds.

    python benchmarks/search_latency.py                         resnet20, 60 % of dense
    python benchmarks/search_latency.py --model mobilenet_v1 --size 224 --share 0.5
    python benchmarks/search_latency.py --pattern channel       by whole channels, in plain files

A built-in network with random weights on random images, batch 1, one thread. The dense file is
measured in ONNX Runtime; ``wfpipe search --target-latency-ms`` is asked for a share of its time,
without fine-tuning. The figure is the speed over dense that the target asks for, as dense was
timed when the search began, over that of the chosen model, measured in alternation: from 0.95 to 1
is good. Milliseconds over the target are printed beside it; they drift with what else the machine
does.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from wfpipe.exporters.documents.search import Search
from wfpipe.exporters.measuring.environment import processor_name
from wfpipe.pipeline.recipe.reading import Values, merge, resolve
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.search.search import dense_latency, search
from wfpipe.pipeline.stages.export import dense_stage
from wfpipe.pipeline.stages.opening import open_job
from wfpipe.support.progress import Silent


def write_images(path: Path, size: int, count: int) -> None:
    """Write random images of ten classes."""
    random = np.random.default_rng(0)
    images = random.integers(256, size=(count, size, size, 3), dtype=np.uint8)
    labels = np.arange(count) % 10
    np.savez(path, x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])


def values_for(data: Path, model: str, gradients: int, pattern: str) -> Values:
    """Return the recipe's values: random weights, no training."""
    return {
        "model": {"name": model, "weights": "random"},
        "data": {"source": str(data)},
        "prune": {
            "pattern": pattern,
            "gradients": gradients,
            "fisher_batch": 1,
            "held_back": 1,
            "update": "none",
        },
        "finetune": {"epochs": 0},
        "validate": {"batches": 1, "threads": 1},
    }


class Lines(Silent):
    """Prints what the search says of its trials."""

    def say(self, text: str) -> None:
        """Print a line of a trial."""
        if text.startswith("trial"):
            print(text, flush=True)


def run(folder: Path, model: str, size: int, share: float, gradients: int, pattern: str) -> None:
    """Measure the dense file, search, and print."""
    write_images(folder / "images.npz", size, 2 * gradients + 40)
    values = values_for(folder / "images.npz", model, gradients, pattern)
    job = open_job(resolve(values), RunDirectory(folder / "dense"), Silent())
    dense_stage(job)
    dense = dense_latency(job)
    target = float(f"{share * dense:.4g}")
    print(f"{model}, {size} × {size}: dense {dense:.3f} ms, target {target:g} ms")
    wanted = resolve(merge([values, {"prune": {"search.target_latency_ms": target}}]))
    found: Search = search(wanted, RunDirectory(folder / "search"), Lines())
    print(found.why)
    assert found.chosen is not None, found.why
    chosen = found.trials[found.chosen - 1]
    assert chosen.latency_ms is not None
    assert chosen.speedup is not None
    assert found.dense_latency_ms is not None
    asked = found.dense_latency_ms / target
    print(f"dense / chosen in alternation: {chosen.speedup:.3f}, asked for {asked:.3f}")
    print(f"milliseconds over the target: {chosen.latency_ms / target:.3f} ({processor_name()})")
    print(f"figure: {asked / chosen.speedup:.3f}")


def main() -> None:
    """Run in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--gradients", type=int, default=32)
    parser.add_argument("--pattern", choices=["unstructured", "channel"], default="unstructured")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.model, given.size, given.share, given.gradients, given.pattern)


if __name__ == "__main__":
    main()
