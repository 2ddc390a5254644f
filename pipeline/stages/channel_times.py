"""The stage that times layers where channels are to be chosen by the milliseconds they free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...exporters.onnx.stored_names import stored_names
from ...exporters.reading.onnx_graph import read_model
from ...exporters.runtime.weight_times import TIMED, weight_times
from ..pruning.choice.costs import weight_costs
from ..pruning.tensors.prunables import find_prunables
from ..runs.state import damaged
from .measure import session_settings
from .opening import Job
from .variants import training_samples

_KEY = "ms"


def channel_times_stage(job: Job) -> None:
    """Time the layers of the dense file, once for a run, and divide losses by what they take.

    Raises:
        InputError: when the dense file does not run, or the stored times are damaged.
    """
    channels = job.setup.channels
    if channels is None or job.recipe.prune.channel_cost != _KEY:
        return
    if job.state.plan is None and job.state.done == 0:
        job.state.plan = {_KEY: job.ranks.of_first(lambda: _times(job))}
        job.save()
    times = (job.state.plan or {}).get(_KEY)
    if not (
        isinstance(times, Mapping)
        and times.keys() == channels.rules.costs.keys()
        and all(isinstance(each, float) and each > 0 for each in times.values())
    ):
        raise damaged(job.directory.checkpoint)
    job.setup = replace(job.setup, channels=channels.priced(times))


def _times(job: Job) -> dict[str, float]:
    """Return the milliseconds of one entry of each weight that channels reach."""
    assert job.setup.channels is not None
    layers, settings = find_prunables(job.module), job.recipe.validate_
    model, batch = read_model(job.directory.dense), settings.batches[0]
    sessions = session_settings(settings, job.placement.device)
    samples = training_samples(job.data, batch)
    with job.reporter.task("times of layers", TIMED, "run") as task:
        timed = weight_times(model, samples, sessions, on_round=task.advance)
    names = stored_names(model, layers)
    found = {name: timed[file] for name, file in names.items() if timed.get(file, 0.0) > 0}
    inputs = job.placement.tensor(next(iter(job.data.test_batches(batch=1)))[0])
    uses = weight_costs(job.module, layers, inputs)
    sizes = {name: weight.numel() for name, weight in layers.items()}
    prices = times_of_entries(found, sizes, uses)
    return {name: prices[name] for name in job.setup.channels.rules.costs}


def times_of_entries(
    found: Mapping[str, float], sizes: Mapping[str, int], uses: Mapping[str, float]
) -> dict[str, float]:
    """Return the time of one entry of each weight.

    That of a layer that is not timed by itself, such as a grouped convolution, is by its MACs, as
    the others take on average; where none is timed, its MACs themselves.

    Args:
        found: milliseconds of the layers that were timed, by name of the weight.
        sizes: entries of each weight.
        uses: MACs of one entry of each weight.
    """
    macs = sum(uses[name] * sizes[name] for name in found)
    usual = sum(found.values()) / max(1.0, macs) or 1.0
    return {
        name: found[name] / size if name in found else usual * uses[name]
        for name, size in sizes.items()
    }
