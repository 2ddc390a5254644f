"""The stages that write ``dense.onnx`` and ``model.onnx``, and prove what these claim."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...exporters.measuring.session import open_session
from ...exporters.onnx.batchnorm import batchnorm_scales
from ...exporters.onnx.capture import output_names
from ...exporters.onnx.dynamic import BATCH, resized
from ...exporters.onnx.export import export_onnx
from ...exporters.onnx.parity import check_parity
from ...exporters.onnx.zeros import UnusedWeight, ZeroCount, check_zeros
from ...support.errors import InputError
from ...support.files import write_bytes
from ...support.nests import Nest, taken, tensors
from ...support.version import __version__
from ..data.source import Data
from ..pruning.gradients.rows import evaluating
from ..pruning.tensors.masks import sparsity
from ..recipe.task import CLASSIFICATION
from ..steps.channels.shrink import TOLERANCE
from .measure import PARITY_SAMPLES, check_lengths, session_settings
from .opening import Job
from .prune import logged, score_now
from .small import check_small, small_network
from .variants import check_excluded


def dense_stage(job: Job) -> None:
    """Export the dense network and measure it, before a long run finds that it cannot be exported.

    The run directory is begun once the export has proved right.

    Raises:
        InputError: when the network cannot be exported, a prunable takes no part in it, or the
            provider asked for is not there.
        CheckFailed: when the file differs from the network.
    """
    if job.ranks.first:
        _dense_file(job)
        if job.state.history:
            job.state.write_log(job.directory.log)
    job.begun = True
    job.ranks.wait()
    if job.state.history:
        return
    reached = score_now(job)
    job.reporter.say(
        f"dense {job.task.title}: {reached.text()} on {len(job.data.test)} test samples "
        f"({job.recipe.model.name}, {job.data.source}, {job.placement.device})"
    )
    job.state.history.append({"event": "dense", **logged(job.task, reached.value)})
    job.save()


def _dense_file(job: Job) -> None:
    content = None
    if not job.begun or not job.directory.dense.exists():
        dense = {name: torch.ones_like(w, dtype=torch.bool) for name, w in job.weights.items()}
        try:
            content, _ = _checked_export(job, job.directory.dense.name, dense)
        except UnusedWeight as error:
            raise InputError(str(error)) from None
        check_excluded(job.recipe.export, content)
        check_lengths(content, job.data, job.recipe, job.placement.device)
    if not job.begun:
        job.directory.begin(job.recipe)
    if content is not None:
        write_bytes(job.directory.dense, content)


def export_stage(job: Job) -> ZeroCount:
    """Write ``model.onnx`` once its zeros are those of the masks and its outputs PyTorch's.

    Raises:
        CheckFailed: when the file differs from the network or from the masks.
    """
    if job.setup.channels is not None:
        found = check_small(job, job.setup.channels, real_samples(job.data, PARITY_SAMPLES))
        job.reporter.detail(
            f"the network without its channels gives the outputs of the masked one: {found:.1e} of "
            f"the largest output (tolerance {TOLERANCE:.0e})"
        )
    content, zeros = _checked_export(job, job.directory.model.name, job.state.masks)
    write_bytes(job.directory.model, content)
    job.reporter.detail(
        f"zeros checked: {zeros.pruned} pruned weights of {zeros.pruned + zeros.kept} are zero in "
        f"{job.directory.model.name}{_gone(job)}; {zeros.dead} kept weights are zero by their "
        "batch norm"
    )
    return zeros


def _gone(job: Job) -> str:
    return "" if job.setup.channels is None else " or gone with their channels"


def real_samples(data: Data, count: int) -> Nest:
    """Return the first ``count`` test samples as the network takes them."""
    inputs, _ = next(iter(data.test_batches(batch=count)))
    return inputs


def metadata(job: Job, sparsity: float, outputs: Nest) -> Mapping[str, str]:
    """Return what an exported file says of itself; ``outputs`` are those for some samples."""
    stated = {
        "wfpipe.version": __version__,
        "wfpipe.recipe_digest": job.recipe.digest(),
        "wfpipe.class_names": json.dumps(job.data.class_names, ensure_ascii=False),
        "wfpipe.sparsity": f"{sparsity:.6f}",
    }
    if job.data.stated is not None:
        stated["wfpipe.preprocessing"] = job.data.stated.model_dump_json()
    if job.task.kind != CLASSIFICATION:
        stated["wfpipe.task"] = job.task.kind
    names = output_names(outputs, job.task.output_name)
    if len(names) > 1:
        main = job.task.main(outputs)
        places = [output is main for output in tensors(outputs)]
        stated["wfpipe.output"] = names[places.index(True)]
    return stated


@torch.no_grad()
def _outputs(job: Job, inputs: Nest) -> Nest:
    with evaluating(job.module):
        return job.module(job.placement.tensor(inputs))


def _checked_export(job: Job, name: str, masks: Mapping[str, Tensor]) -> tuple[bytes, ZeroCount]:
    """Export the network as it is, less the channels that are gone, and return the file's bytes,
    once they have passed every check: the zeros of the masks, PyTorch's outputs on real samples,
    and a session as it will be measured.
    """
    samples = real_samples(job.data, PARITY_SAMPLES)
    small = small_network(job, dict(masks))
    settings = job.recipe.export
    share = sparsity({name: masks[name] for name in small.masks})
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        path = Path(folder) / name
        export_onnx(
            small.module,
            taken(samples, slice(2)),
            path,
            opset=settings.opset,
            metadata=metadata(job, share, _outputs(job, taken(samples, slice(2)))),
            dynamic=settings.dynamic,
            output=job.task.output_name,
            reporter=job.reporter,
        )
        zeros = check_zeros(
            path,
            small.masks,
            small.weights,
            batchnorm_scales(small.module, job.placement.tensor(taken(samples, slice(2)))),
        )
        parity = check_parity(path, small.module, samples, tolerance=settings.tolerance)
        if set(settings.dynamic) - {BATCH}:
            other = resized(taken(samples, slice(2)), settings.dynamic)
            check_parity(path, small.module, other, tolerance=settings.tolerance)
        open_session(path, session_settings(job.recipe.validate_, job.placement.device))
        content = path.read_bytes()
    job.reporter.detail(
        f"parity of {name}: {parity.relative:.1e} of the largest output, "
        f"on {parity.samples} samples (tolerance {settings.tolerance:.1e})"
    )
    return content, replace(zeros, pruned=zeros.pruned + small.gone, gone=small.gone)
