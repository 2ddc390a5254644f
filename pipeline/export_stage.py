"""The stages that write ``dense.onnx`` and ``model.onnx``, and prove what these claim."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .. import __version__
from ..exporters.batchnorm import batchnorm_scales
from ..exporters.onnx_file import export_onnx
from ..exporters.parity import check_parity
from ..exporters.session import open_session
from ..exporters.zeros import ZeroCount, check_zeros
from .data.source import Data
from .job import Job
from .measure import session_settings
from .prune_stage import accuracy_now
from .pruning.masks import sparsity

PARITY_SAMPLES = 128
"""Test samples on which a file is compared with PyTorch (64 are the least that count)."""


def dense_stage(job: Job) -> None:
    """Measure the dense network and export it, before a long run finds that it cannot be.

    Raises:
        InputError: when the network cannot be exported, or the provider asked for is not there.
        CheckFailed: when the file differs from the network.
    """
    if not job.directory.dense.exists():
        _export(job, job.directory.dense, sparsity=0.0)
        settings = session_settings(job.recipe.validate_, job.placement.device)
        open_session(job.directory.dense, settings)
    if job.state.history:
        return
    reached = accuracy_now(job)
    job.reporter.say(
        f"dense accuracy: {reached:.2f} % on {len(job.data.test)} test samples "
        f"({job.recipe.model.name}, {job.data.source}, {job.placement.device})"
    )
    job.state.history.append({"event": "dense", "accuracy": reached})
    job.state.save(job.directory.checkpoint, job.directory.log)


def export_stage(job: Job) -> ZeroCount:
    """Write ``model.onnx``; its zeros are checked against the masks, its outputs against PyTorch.

    Raises:
        CheckFailed: when the file differs from the network or from the masks.
    """
    _export(job, job.directory.model, sparsity=sparsity(job.state.masks))
    zeros = check_zeros(
        job.directory.model,
        job.state.masks,
        {name: weight.detach() for name, weight in job.weights.items()},
        batchnorm_scales(job.module, job.placement.tensor(real_samples(job.data, 2))),
    )
    job.reporter.detail(
        f"zeros checked: {zeros.pruned} pruned weights of {zeros.pruned + zeros.kept} are zero in "
        f"{job.directory.model.name}; {zeros.dead} kept weights are zero by their batch norm"
    )
    return zeros


def real_samples(data: Data, count: int) -> Tensor:
    """Return the first ``count`` test samples as the network takes them, ``Float[n, *shape]``."""
    inputs, _ = next(iter(data.test_batches(batch=count)))
    return inputs


def metadata(job: Job, sparsity: float) -> Mapping[str, str]:
    """Return what an exported file says of itself."""
    return {
        "wfpipe.version": __version__,
        "wfpipe.recipe_digest": job.recipe.digest(),
        "wfpipe.preprocessing": job.data.preprocessing.model_dump_json(),
        "wfpipe.class_names": json.dumps(job.data.class_names, ensure_ascii=False),
        "wfpipe.sparsity": f"{sparsity:.6f}",
    }


def _export(job: Job, path: Path, sparsity: float) -> None:
    """Export the network as it is, and compare the file with it on real samples."""
    samples = real_samples(job.data, PARITY_SAMPLES)
    settings = job.recipe.export
    export_onnx(
        job.module,
        samples[:2],
        path,
        opset=settings.opset,
        metadata=metadata(job, sparsity),
        reporter=job.reporter,
    )
    parity = check_parity(path, job.module, samples, tolerance=settings.tolerance)
    job.reporter.detail(
        f"parity of {path.name}: {parity.relative:.1e} of the largest output, "
        f"on {parity.samples} samples (tolerance {settings.tolerance:.1e})"
    )
