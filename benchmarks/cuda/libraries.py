"""What other libraries do on the GPU with what wfpipe made: ONNX Runtime, 2:4 products, NCCL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from wfpipe.benchmarks.cuda.sizes import Row, Sizes, now, timed
from wfpipe.support.errors import first_line


def in_onnx_runtime(sizes: Sizes) -> Iterator[Row]:
    """Export a network and run it in ONNX Runtime: outputs against PyTorch, and latency."""
    from wfpipe.exporters.measuring.inference import predict, prepare_run
    from wfpipe.exporters.measuring.session import Provider, SessionSettings, open_session
    from wfpipe.exporters.onnx.export import export_onnx
    from wfpipe.models.registry import load_model

    demo = sizes.exported == "digits-cnn"
    shape, classes = ((1, 8, 8), 10) if demo else ((3, sizes.side, sizes.side), sizes.classes)
    weights = None if demo else "random"
    module = load_model(sizes.exported, weights, input_shape=shape, classes=classes).module
    x = torch.rand(32, *shape)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder, "model.onnx")
        begin = perf_counter()
        export_onnx(module, x[:2], path, opset=20, metadata={}, dynamic=["batch"])
        yield Row("export", perf_counter() - begin, "s")
        provider: Provider = "cuda" if sizes.device == "cuda" else "cpu"
        session = open_session(path, SessionSettings(provider, threads=1))
        yield Row("provider", session.get_providers()[0])
        wanted = module(x).numpy()
        off = float(np.abs(predict(session, x.numpy()) - wanted).max() / np.abs(wanted).max())
        yield Row("outputs differ from PyTorch's by", off, "of the largest")
        for size in (1, 32):
            call, times = prepare_run(session, x[:size].numpy()), []
            for _ in range(sizes.runs):
                begin = perf_counter()
                call()
                times.append(perf_counter() - begin)
            yield Row(f"latency, batch {size}", 1e3 * median(times), "ms")


def two_four(sizes: Sizes) -> Iterator[Row]:
    """Hand a weight that wfpipe pruned to 2:4 to PyTorch's sparse products, by each backend."""
    from torch.sparse import SparseSemiStructuredTensor, to_sparse_semi_structured

    from wfpipe.pipeline.pruning.choice.patterns import check_pattern
    from wfpipe.pipeline.pruning.gradients.evidence import Evidence
    from wfpipe.pipeline.pruning.step import Method, prune
    from wfpipe.pipeline.pruning.tensors.layout import Layout
    from wfpipe.pipeline.pruning.tensors.prunables import Axes
    from wfpipe.pipeline.steps.pattern import pattern_of

    device, pattern = torch.device(sizes.device), pattern_of("2:4")
    weights = {"layer": torch.randn(sizes.layer, sizes.layer, device=device)}
    layout, axes = Layout(weights), {"layer": Axes()}
    w = layout.flatten(weights)
    found = prune(
        w, torch.ones_like(w, dtype=torch.bool), Evidence(), sparsity=0.5, layout=layout,
        axes=axes, method=Method(criterion="magnitude", update="none", pattern=pattern),
    )  # fmt: skip
    obeys = check_pattern(layout.split(found.keep)["layer"], pattern, axes["layer"])
    yield Row("wfpipe's mask obeys 2:4", str(obeys), error=None if obeys else "it does not")
    dense = layout.split(found.weights)["layer"].to(torch.bfloat16).contiguous()
    x = torch.randn(sizes.layer, sizes.layer, device=device).to(torch.bfloat16)
    wanted = F.linear(x, dense)
    seconds = timed(lambda: F.linear(x, dense), device, sizes.runs)
    yield Row("dense product", 1e3 * seconds, "ms")
    for backend, cutlass in {"cuSPARSELt": False, "CUTLASS": True}.items():
        try:
            SparseSemiStructuredTensor._FORCE_CUTLASS = cutlass
            sparse = to_sparse_semi_structured(dense)
            off = float((F.linear(x, sparse) - wanted).float().norm() / wanted.float().norm())
            took = timed(lambda s=sparse: F.linear(x, s), device, sizes.runs)  # type: ignore[misc]
            yield Row(f"2:4 by {backend}", 1e3 * took, "ms")
            yield Row(f"2:4 by {backend}: faster than dense", seconds / took, "times")
            wrong = "more than 1 %: the product is another" if off > 0.01 else None
            yield Row(f"2:4 by {backend}: differs by", off, "of the norm", error=wrong)
        except Exception as error:
            yield Row(f"2:4 by {backend}", error=f"{type(error).__name__}: {first_line(error)}")


def process_group(sizes: Sizes) -> Iterator[Row]:
    """Form the process group as a job does, of one rank, and use what a job uses of it."""
    from wfpipe.pipeline.ranks.group import PANEL_BYTES, Exchange

    device, cuda = torch.device(sizes.device), sizes.device == "cuda"
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        yield Row("process group", backend)
        if cuda:
            version: Any = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]
            yield Row("NCCL", ".".join(map(str, version)))
        values = torch.arange((1 << 26) if cuda else 64, dtype=torch.float32, device=device)
        total = values.clone()
        took = timed(lambda: dist.all_reduce(total), device, 5)
        yield checked("sum of a tensor", bool(torch.equal(total, values)), 1e3 * took)
        panels = -(-values.nbytes // PANEL_BYTES)
        begin = now(device)
        (got,) = Exchange.begun([values], [tuple(values.shape)], panels).result()
        took = now(device) - begin
        yield checked("exchange of rows", bool(torch.equal(got, values)), 1e3 * took)
        on_host = torch.ones(4)
        dist.all_reduce(on_host)
        yield checked("sum in main memory, by Gloo", on_host.tolist() == [1.0] * 4)
        yield from averaged_gradients(device)
    finally:
        dist.destroy_process_group()


def averaged_gradients(device: torch.device) -> Iterator[Row]:
    """Compare gradients under DistributedDataParallel, as replicas use it, with plain ones."""
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)).to(device)
    x = torch.randn(16, 8, device=device)
    plain = torch.autograd.grad(module(x).square().sum(), list(module.parameters()))
    copy = DistributedDataParallel(module, find_unused_parameters=True)
    torch.autograd.backward(copy(x).square().sum())
    same = all(
        p.grad is not None and torch.allclose(p.grad, wanted)
        for p, wanted in zip(module.parameters(), plain, strict=True)
    )
    yield checked("DistributedDataParallel", same)


def checked(what: str, right: bool, milliseconds: float | None = None) -> Row:
    """Return the row of a check, with the time it took where it was measured."""
    if not right:
        return Row(what, error="the result is not the one it must be")
    return Row(what, "right") if milliseconds is None else Row(what, milliseconds, "ms")
