"""How much faster the form sparse-cpu is than the dense model, in one process, in alternation.

    python benchmarks/sparse_cpu.py                      every row, one and two threads
    python benchmarks/sparse_cpu.py --only resnet50      rows of that name

Networks have random weights, pruned by magnitude: values do not matter for time. The dense side is
the file before pruning. Ends with the least dense / sparse-cpu of ResNet-50 at 90 % (at least 4),
or, where that is left out, of the rows that ran.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from wfpipe.exporters.measuring.environment import processor_name
from wfpipe.exporters.measuring.inference import predict
from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path
from wfpipe.exporters.measuring.latency import measure_latency
from wfpipe.exporters.measuring.peak_memory import peak_memory
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.reading.onnx_graph import read_model
from wfpipe.exporters.runtime.layer_times import with_zeros
from wfpipe.exporters.runtime.units import find_units
from wfpipe.exporters.variants.sparse_cpu import write_sparse_cpu
from wfpipe.models.registry import load_model

RUNS = 30
TARGETS = {
    ("resnet50", 0.7): 1.7, ("resnet50", 0.8): 2.4, ("resnet50", 0.9): 4, ("resnet50", 0.95): 6,
    ("mobilenet_v1", 0.8): 1.5, ("mobilenet_v1", 0.9): 2.2, ("resnet20", 0.9): 2,
    ("transformer", 0.9): 3.5, ("resnet50 batch 16", 0.9): 3.5,
}  # fmt: skip
LEAST = 0.98


class Transformer(nn.Module):
    """The two linear layers of a transformer's block, on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(768, 3072), nn.Linear(3072, 768)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.down(nn.functional.gelu(self.up(tokens)))
        return found.flatten(1)


@dataclass(frozen=True)
class Case:
    """A network, its inputs, and which of its layers are pruned."""

    name: str
    network: str
    shape: tuple[int, ...]
    batch: int = 1
    classes: int = 1000

    def dense(self, path: Path) -> None:
        torch.manual_seed(0)
        if self.network == "transformer":
            module: nn.Module = Transformer()
        else:
            module = load_model(
                self.network,
                "random",
                input_shape=self.shape,
                classes=self.classes,
                options={},
                seed=0,
            ).module  # fmt: skip
        export_onnx(module, torch.randn(2, *self.shape), path, opset=20, metadata={})


CASES = (
    Case("resnet50", "resnet50", (3, 224, 224)),
    Case("mobilenet_v1", "mobilenet_v1", (3, 224, 224)),
    Case("resnet20", "resnet20", (3, 32, 32), classes=10),
    Case("transformer", "transformer", (128, 768)),
    Case("resnet50 batch 16", "resnet50", (3, 224, 224), 16),
)


def prune(source: Path, path: Path, sparsity: float) -> None:
    """Write the model with the convolutions after the first, and the linear layers of the
    transformer, pruned by magnitude; depthwise and classifier layers stay dense."""
    model = read_model(source)
    units = [unit for unit in find_units(model) if unit.kind in ("conv", "linear")]
    convolutions = [unit for unit in units if unit.kind == "conv"]
    pruned = {unit.weight for unit in (convolutions[1:] or units)}
    zeroed = with_zeros(model, dict.fromkeys(pruned, sparsity))
    path.write_bytes(zeroed.SerializeToString())


def rows(
    case: Case, sparsity: float, folder: Path, half: bool, threads_of: Sequence[int]
) -> Iterator[str]:
    """Yield a line for each number of threads."""
    dense, plain, form = (folder / f"{name}.onnx" for name in ("dense", "plain", "form"))
    samples = np.random.default_rng(0).standard_normal((case.batch, *case.shape), np.float32)
    prune(dense, plain, sparsity)
    for threads in threads_of:
        settings = SessionSettings("cpu", threads)
        made = write_sparse_cpu(plain, form, samples, settings, half=half)
        sessions = {name: open_session(folder / f"{name}.onnx", settings)
                    for name in ("dense", "form")}  # fmt: skip
        times = measure_latency(sessions, samples, batch_sizes=[case.batch], runs=RUNS, seed=1)
        one, other = (times[name][case.batch] for name in ("dense", "form"))
        ratio = float(np.median(one) / np.median(other))
        low, high = np.quantile(one / other, [0.25, 0.75])
        expected = predict(open_session(plain, settings), samples)
        apart = np.abs(predict(sessions["form"], samples) - expected).max() / np.abs(expected).max()
        chosen = sum(choice.choice == "sparse" for choice in made.kernels)
        wanted = TARGETS.get((case.name, sparsity), LEAST if sparsity <= 0.5 else None)
        missed = "" if wanted is None or ratio >= wanted else ", MISSED"
        verdict = "" if wanted is None else f" (wanted {wanted:g}{missed})"
        yield (
            f"{case.name} {sparsity:.0%} {threads} thread(s): dense {np.median(one):.2f} ms, "
            f"sparse-cpu {np.median(other):.2f} ms, dense / sparse-cpu {ratio:.2f} (quartiles "
            f"{low:.2f} to {high:.2f}){verdict}; {chosen} of {len(made.kernels)} layers sparse; "
            f"file {form.stat().st_size / dense.stat().st_size:.3f} of dense; outputs apart "
            f"{apart:.1e}"
        )
        MEASURED[case.name, sparsity, threads] = ratio
    if case.name == "resnet50" and sparsity == 0.9:
        before, after = (peak_memory(path, settings, samples) for path in (dense, form))
        if before and after:
            share = after / before
            yield f"{case.name} {sparsity:.0%}: peak memory {share:.2f} of dense (wanted 0.5)"


MEASURED: dict[tuple[str, float, int], float] = {}


def main() -> None:
    """Print the rows asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[case.name for case in CASES], help="default: all")
    parser.add_argument("--sparsity", type=float, action="append", help="default: all")
    parser.add_argument("--threads", type=int, action="append", help="default: 1 and 2")
    parser.add_argument("--half", action="store_true", help="values stored as float16")
    arguments = parser.parse_args()
    library = library_path()
    if library is None:
        raise SystemExit("the library of sparse kernels is not installed")
    print(f"{processor_name()}, path {kernel_path(library)}, onnxruntime {ort.__version__}")
    for case in CASES:
        if arguments.only not in (None, case.name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            case.dense(Path(folder) / "dense.onnx")
            for sparsity in arguments.sparsity or (0.3, 0.5, 0.7, 0.8, 0.9, 0.95):
                threads = arguments.threads or (1, 2)
                for line in rows(case, sparsity, Path(folder), arguments.half, threads):
                    print(line, flush=True)
    wanted = [ratio for (name, s, _), ratio in MEASURED.items() if (name, s) == ("resnet50", 0.9)]
    print(f"figure: {min(wanted or MEASURED.values()):.2f}")


if __name__ == "__main__":
    main()
