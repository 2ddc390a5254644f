"""Weights files: the tensors by name, wherever in a checkpoint they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..support.errors import InputError, shown
from ..support.files import read_bytes
from ..support.names import short_name, some_names
from .pickled import SAVE_ALONE, read_pickled

_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "params")
_AVERAGED = re.compile(r"(^|_)ema(_|$)", re.IGNORECASE)
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.complex64, torch.complex128),
)


@dataclass(frozen=True)
class Weights:
    """The tensors of a weights file by name, on the CPU, and what a user is told of the choice."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def is_averaged(name: str) -> bool:
    """Tell whether a name speaks of an exponential moving average, such as ``state_dict_ema``."""
    return _AVERAGED.search(name.replace(".", "_")) is not None


def read_weights(path: Path, *, averaged: bool = True) -> Weights:
    """Read the tensors of a weights file by name; nothing in the file is run.

    Args:
        path: a ``.safetensors`` file, or a checkpoint of ``torch.save`` under any other suffix
            (``.pth``, ``.pt``, ``.ckpt``, ``.tar``, ``.bin``) that holds a state dict at the top,
            under ``state_dict``, ``model_state_dict``, ``model``, ``module`` or ``params``, or
            under the one key that holds any.
        averaged: whether an exponential moving average (``state_dict_ema``, ``model_ema``, ...)
            is taken where there is one.

    Raises:
        InputError: when the file is missing, unreadable or damaged, is of another kind, would run
            code when loaded, holds no tensors, or holds one that is not dense and finite.
    """
    what = f"weights file {str(path)!r}"
    _check_no_folder(path)
    content = read_bytes(path, "weights file")
    if path.suffix == ".safetensors":
        weights = Weights(_read_safetensors(what, content))
    else:
        weights = _find_state_dict(what, read_pickled(what, content), averaged)
    for name, tensor in weights.tensors.items():
        _check_tensor(what, name, tensor)
    return Weights({name: t.detach() for name, t in weights.tensors.items()}, weights.notes)


def _check_no_folder(path: Path) -> None:
    """Say what makes one file of the folders that several processes write."""
    if (path / ".metadata").is_file():
        raise InputError(
            f"weights {str(path)!r} is a folder of torch.distributed.checkpoint: make one file of "
            "it with python -m torch.distributed.checkpoint.format_utils dcp_to_torch"
        )
    if (path / "zero_to_fp32.py").is_file():
        raise InputError(
            f"weights {str(path)!r} is a folder of DeepSpeed: make one file of it with the "
            "zero_to_fp32.py in it"
        )


def _read_safetensors(what: str, content: bytes) -> dict[str, Tensor]:
    try:
        state = safetensors.torch.load(content)
    except Exception:  # whatever the bytes are
        raise InputError(f"{what} is damaged, or not a .safetensors file") from None
    if not state:
        raise InputError(f"{what} holds no tensors")
    return state


def _find_state_dict(what: str, content: Any, averaged: bool) -> Weights:
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise InputError(f"{what} holds one {kind} and no state dict: {SAVE_ALONE}")
    averages = [key for key in content if isinstance(key, str) and is_averaged(key)]
    averages = [key for key in averages if isinstance(content[key], Mapping)]
    notes: tuple[str, ...] = ()
    if averaged and averages:
        for key in averages:
            if state := _tensors_in(content[key]):
                note = f"averaged weights ({short_name(key)}); model.ema=false takes the others"
                return Weights(state, (note,))
        notes = (f"{some_names(averages)} holds no tensors by name and is passed over",)
    rest = {key: value for key, value in content.items() if key not in averages}
    return Weights(_plain_state(what, rest), notes)


def _plain_state(what: str, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint: of a known key, at the top, or of the one other."""
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping) and (state := _tensors_in(content[key])):
            return state
    top = _named_tensors(content)
    others = {
        str(key): state
        for key, value in content.items()
        if isinstance(value, Mapping) and _holds_matrices(state := _tensors_in(value))
    }
    largest = max(others.values(), key=len, default={})
    if top and len(top) >= len(largest):
        return top
    if len(others) > 1:
        raise InputError(
            f"{what} holds several state dicts ({some_names(others)}): save the one that is meant "
            "alone, and pass that"
        )
    if largest or top:
        return largest or top
    places = ", ".join(_WRAPPERS[:3])
    keys = some_names([str(key) for key in content]) or "none"
    raise InputError(f"{what} holds no tensors at the top or under {places}; its keys: {keys}")


def _tensors_in(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Return the tensors of a mapping, or of the state dict that lies one level deeper in it."""
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping) and (state := _named_tensors(content[key])):
            return state
    return _named_tensors(content)


def _named_tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def _holds_matrices(state: Mapping[str, Tensor]) -> bool:
    """Tell weights from the tensors that training state keeps, such as a generator's state."""
    return any(value.dim() > 1 and value.is_floating_point() for value in state.values())


def _check_tensor(what: str, name: str, tensor: Tensor) -> None:
    plain = (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in _DTYPES
        and not tensor.is_nested
        and tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()
    )
    if not plain:
        raise InputError(
            f"{what}: {shown(name)} must be a dense tensor of numbers with all its values in the "
            f"file, got {tensor.dtype}, {tensor.layout}, {tensor.device}"
        )
    single = torch.complex64 if tensor.is_complex() else torch.float32
    if not tensor.to(single).isfinite().all():
        raise InputError(f"{what}: {shown(name)} has values that are not finite in float32")
