"""The pruned network of a run as a module, ready to be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
from torch import nn

from ...models.fitting import fit_state_dict
from ...models.narrowing import narrow
from ...models.registry import load_model
from ...models.weights import read_weights
from ...support.errors import InputError
from ..runs.directory import RunDirectory

STATED = "wfpipe"
"""The metadata of ``pruned.safetensors``, JSON with ``input_shape`` of a sample, ``classes``, and
``shapes`` by name. It is one entry, as safetensors writes several in an order of chance."""


def load(run: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Return the pruned network of a run, on the CPU and in eval mode.

    It is built as the run's recipe says and given the weights of ``pruned.safetensors``. Where
    whole channels were removed it is the smaller network. The code of the model is run, as in
    ``prune``; of the files of the run nothing is.

    Args:
        run: the run directory.
        model: the network that the run was made from by :func:`.compress.compress`, which stays as
            it is; None: that of the recipe.

    Raises:
        InputError: when there is no pruned network there, or it does not fit the model.
    """
    directory = RunDirectory(Path(run))
    recipe = directory.read_recipe()
    if not directory.weights.is_file():
        raise InputError(
            f"{str(directory.path)!r} has no {directory.weights.name}: finish the run with "
            "prune-and-export --resume"
        )
    state = read_weights(directory.weights).tensors
    shape, classes = _stated(directory.weights)
    module = load_model(
        recipe.model.name,
        "random",
        input_shape=shape,
        classes=classes,
        options=recipe.model.options,
        given=model,
    ).module
    source = f"weights file {str(directory.weights)!r}"
    own = module.state_dict()
    other = {
        name: value
        for name, value in state.items()
        if name in own and own[name].shape != value.shape
    }
    if recipe.prune.pattern == "channel" and all(
        value.dim() == own[name].dim()
        and all(new <= old for new, old in zip(value.shape, own[name].shape, strict=True))
        for name, value in other.items()
    ):
        narrow(module, other)
    fit_state_dict(module, state, source)
    return module.eval()


def _stated(path: Path) -> tuple[tuple[int, ...], int]:
    """Return the shape of a sample and the number of classes that a weights file states."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
        stated = json.loads(metadata[STATED])
        shape, classes = stated["input_shape"], stated["classes"]
        numbers = [*shape, classes]
        if not all(isinstance(n, int) and 0 < n < 1 << 24 for n in numbers):
            raise ValueError("no sizes")
    except (KeyError, ValueError, TypeError, OSError, safetensors.SafetensorError):
        raise InputError(
            f"weights file {str(path)!r} does not say for which samples its network is: it is "
            "damaged, or of an earlier version; prune again"
        ) from None
    return tuple(shape), classes
