"""The stages that write ``dense.onnx`` and ``model.onnx``, and prove what these claim."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...exporters.measuring.session import open_session
from ...exporters.onnx.batchnorm import batchnorm_scales
from ...exporters.onnx.export import export_onnx
from ...exporters.onnx.parity import check_parity
from ...exporters.onnx.zeros import UnusedWeight, ZeroCount, check_zeros
from ...support.errors import InputError
from ...support.files import write_bytes
from ...support.version import __version__
from ..data.source import Data
from ..pruning.tensors.masks import sparsity
from .measure import PARITY_SAMPLES, session_settings
from .opening import Job
from .prune import accuracy_now
from .variants import check_excluded


def dense_stage(job: Job) -> None:
    """Export the dense network and measure it, before a long run finds that it cannot be exported.

    The run directory is begun once the export has proved right.

    Raises:
        InputError: when the network cannot be exported, a prunable takes no part in it, or the
            provider asked for is not there.
        CheckFailed: when the file differs from the network.
    """
    content = None
    if not job.begun or not job.directory.dense.exists():
        dense = {name: torch.ones_like(w, dtype=torch.bool) for name, w in job.weights.items()}
        try:
            content, _ = _checked_export(job, job.directory.dense.name, dense)
        except UnusedWeight as error:
            raise InputError(str(error)) from None
        check_excluded(job.recipe.export, content)
    if not job.begun:
        job.directory.begin(job.recipe)
        job.begun = True
    if content is not None:
        write_bytes(job.directory.dense, content)
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
    """Write ``model.onnx`` once its zeros are those of the masks and its outputs PyTorch's.

    Raises:
        CheckFailed: when the file differs from the network or from the masks.
    """
    content, zeros = _checked_export(job, job.directory.model.name, job.state.masks)
    write_bytes(job.directory.model, content)
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


def _checked_export(job: Job, name: str, masks: Mapping[str, Tensor]) -> tuple[bytes, ZeroCount]:
    """Export the network as it is and return the file's bytes, once they have passed every check:
    the zeros of the masks, PyTorch's outputs on real samples, and a session as it will be measured.
    """
    samples = real_samples(job.data, PARITY_SAMPLES)
    settings = job.recipe.export
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        path = Path(folder) / name
        export_onnx(
            job.module,
            samples[:2],
            path,
            opset=settings.opset,
            metadata=metadata(job, sparsity(masks)),
            reporter=job.reporter,
        )
        zeros = check_zeros(
            path,
            masks,
            {name: weight.detach() for name, weight in job.weights.items()},
            batchnorm_scales(job.module, job.placement.tensor(samples[:2])),
        )
        parity = check_parity(path, job.module, samples, tolerance=settings.tolerance)
        open_session(path, session_settings(job.recipe.validate_, job.placement.device))
        content = path.read_bytes()
    job.reporter.detail(
        f"parity of {name}: {parity.relative:.1e} of the largest output, "
        f"on {parity.samples} samples (tolerance {settings.tolerance:.1e})"
    )
    return content, zeros
