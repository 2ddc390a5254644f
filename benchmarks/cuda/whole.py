"""The device itself, and the whole job of the demo on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import torch

from wfpipe.benchmarks.cuda.sizes import GIB, Row, Sizes, product_rate
from wfpipe.support.errors import InputError, first_line
from wfpipe.support.progress import Silent


def device(sizes: Sizes) -> Iterator[Row]:
    """Say what the device is, and time plain matrix products on it."""
    yield Row("PyTorch", str(torch.__version__))
    if sizes.device == "cuda":
        found = torch.cuda.get_device_properties(0)
        yield Row("GPU", found.name)
        yield Row("its memory", found.total_memory / GIB, "GiB")
        yield Row("CUDA", str(torch.version.cuda))
        yield Row("cuDNN", str(torch.backends.cudnn.version()))  # type: ignore[no-untyped-call]
    torch.set_float32_matmul_precision("highest")
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        yield Row(f"product, {name_of(dtype)}", product_rate(dtype, sizes) / 1e12, "TFLOP/s")


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a type without its module."""
    return str(dtype).removeprefix("torch.")


def demo(sizes: Sizes) -> Iterator[Row]:
    """Run the whole job of the demo; measure on the CPU where ONNX Runtime has no such provider."""
    from wfpipe.pipeline.recipe.recipe import Recipe
    from wfpipe.pipeline.runs.directory import RunDirectory
    from wfpipe.pipeline.stages.run import prune_and_export

    for provider in ("auto", "cpu"):
        values = {**(sizes.job or {}), "run": {"device": sizes.device}}
        values["validate"] = {**values.get("validate", {}), "provider": provider}
        with tempfile.TemporaryDirectory() as folder:
            begin = perf_counter()
            try:
                report = prune_and_export(
                    Recipe.model_validate(values), RunDirectory(Path(folder, "run")), Silent()
                )
            except InputError as error:
                if provider == "cpu" or "provider" not in str(error):
                    raise
                yield Row("demo measured on the GPU", error=first_line(error))
                continue
        yield Row("demo, whole job", perf_counter() - begin, "s")
        yield Row("provider", report.environment.provider)
        yield Row("accuracy, dense", report.dense.accuracy, "%")
        yield Row("accuracy, pruned", report.pruned.accuracy, "%")
        yield Row("sparsity", 100 * report.sparsity, "%")
        return
