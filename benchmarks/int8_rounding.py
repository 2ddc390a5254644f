"""Accuracy of a model in eight bits: weights rounded to nearest, and with errors made up for.

    python benchmarks/int8_rounding.py runs/demo/model.onnx digits
    python benchmarks/int8_rounding.py RUN/model.onnx IMAGES --set data.mean=0.5 --set data.std=0.5

The model is the plain file of a run, the second argument the data that it was pruned on. Both forms
have the same scales, and ranges from the same 512 training samples. The difference of the outputs
is their root mean square, that of the plain file being 1. The figure is how many points of accuracy
the form that wfpipe writes loses against the plain file.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from wfpipe.exporters.measuring.inference import predict
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.variants.int8 import write_int8
from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.recipe.reading import parse_assignment, resolve
from wfpipe.pipeline.stages.variants import training_samples
from wfpipe.support.progress import Silent

SAMPLES = 512
Array = np.ndarray[Any, Any]


def main() -> None:
    """Print a line for each rounding, and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path, help="the plain file of a run")
    parser.add_argument("data", help="the data it was pruned on, as --data takes it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    given = map(parse_assignment, arguments.set)
    settings = resolve({"data": {"source": arguments.data}}, *given).data
    data = open_data(settings, seed=0, reporter=Silent())
    samples = training_samples(data, SAMPLES)
    plain, expected = measured(arguments.model, data)
    print(f"plain: {plain:.2f} % of {len(data.test)} test samples", flush=True)
    reached = plain
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        for name, compensate in (("to nearest", False), ("made up for", True)):
            begin = process_time()
            write_int8(arguments.model, path, samples, method="minmax", compensate=compensate)
            seconds = process_time() - begin
            reached, outputs = measured(path, data)
            apart = np.linalg.norm(outputs - expected) / np.linalg.norm(expected)
            print(f"int8, errors {name}: {reached:.2f} %, outputs apart {apart:.4f}, written in "
                  f"{seconds:.1f} s of the processor", flush=True)  # fmt: skip
    print(f"figure: {plain - reached:.2f}")


def measured(path: Path, data: Data) -> tuple[float, Array]:
    """Return the accuracy of a file on the test split, in percent, and its outputs."""
    session = open_session(path, SessionSettings("cpu", 1))
    batches = [(inputs.numpy(), targets) for inputs, targets in data.test_batches(batch=100)]
    outputs = np.concatenate([predict(session, inputs) for inputs, _ in batches])
    labels = np.concatenate([targets.numpy() for _, targets in batches])
    return 100 * float((outputs.argmax(1) == labels).mean()), outputs


if __name__ == "__main__":
    main()
