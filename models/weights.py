"""Weights files: read without running anything in them, and fitted to a network by name."""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..support.errors import InputError, shown
from ..support.files import read_bytes

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)
_SHOWN = 100  # characters of a name in an error
_LISTED = 6  # names in an error, for each kind of problem
_SAVE_ALONE = "save model.state_dict() alone, with torch.save or as .safetensors, and pass that"


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file by name; nothing in the file is run.

    Args:
        path: a ``.safetensors`` file, or a checkpoint of ``torch.save`` under any other suffix
            (``.pth``, ``.pt``, ``.ckpt``, ``.tar``) that holds a state dict at the top or under
            ``state_dict``, ``model_state_dict`` or ``model``.

    Returns:
        CPU tensors by parameter name, without the prefixes ``module.`` and ``_orig_mod.`` that
        parallel and compiled networks put before every name.

    Raises:
        InputError: when the file is missing, unreadable or damaged, is of another kind, would run
            code when loaded, holds no tensors, or holds one that is not dense, real and finite.
    """
    what = f"weights file {str(path)!r}"
    content = read_bytes(path, "weights file")
    if path.suffix == ".safetensors":
        state = _read_safetensors(what, content)
    else:
        state = _find_state_dict(what, _read_pickled(what, content))
    for name, tensor in state.items():
        _check_tensor(what, name, tensor)
    prefix = _shared_prefix(state)
    return {name.removeprefix(prefix): tensor.detach() for name, tensor in state.items()}


def fit_state_dict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy ``state`` into the parameters and buffers of ``module``, in the module's precision.

    The names must match one to one, less the prefixes ``module.`` and ``_orig_mod.`` that the
    network may have; only ``num_batches_tracked`` (the step count of a batch norm) may be missing.

    Args:
        module: the network; unchanged when this raises.
        state: tensors by name, as :func:`read_state_dict` returns them.
        source: where the tensors came from, for the error.

    Raises:
        InputError: listing the names that are missing, unexpected, or of another shape.
    """
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    prefix = _shared_prefix(own)
    shapes = {name.removeprefix(prefix): tuple(value.shape) for name, value in own.items()}
    _check_fit({name: tuple(value.shape) for name, value in state.items()}, shapes, source)
    module.load_state_dict({prefix + name: value for name, value in state.items()}, strict=False)


def _read_safetensors(what: str, content: bytes) -> dict[str, Tensor]:
    try:
        state = safetensors.torch.load(content)
    except Exception:  # whatever the bytes are
        raise InputError(f"{what} is damaged, or not a .safetensors file") from None
    if not state:
        raise InputError(f"{what} holds no tensors")
    return state


def _read_pickled(what: str, content: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes are
        raise InputError(f"{what} {_why_refused(content, str(error))}") from None


def _find_state_dict(what: str, content: Any) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise InputError(f"{what} holds one {kind} and no state dict: {_SAVE_ALONE}")
    for candidate in (*(content.get(key) for key in _WRAPPERS), content):
        if isinstance(candidate, Mapping):
            state = {
                name: value
                for name, value in candidate.items()
                if isinstance(name, str) and isinstance(value, Tensor)
            }
            if state:
                return state
    places = ", ".join(_WRAPPERS)
    keys = _some([str(key) for key in content]) or "none"
    raise InputError(f"{what} holds no tensors at the top or under {places}; its keys: {keys}")


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
            f"{what}: {shown(name)} must be a dense tensor of floats or integers with all its "
            f"values in the file, got {tensor.dtype}, {tensor.layout}, {tensor.device}"
        )
    if not tensor.to(torch.float32).isfinite().all():
        raise InputError(f"{what}: {shown(name)} has values that are not finite in float32")


def _check_fit(
    given: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], source: str
) -> None:
    """Compare shapes by name; raise an error that lists every kind of difference."""
    problems = {
        "missing": [
            name
            for name in wanted
            if name not in given and name.rpartition(".")[2] != "num_batches_tracked"
        ],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} {given[name]} instead of {shape}"
            for name, shape in wanted.items()
            if name in given and given[name] != shape
        ],
    }
    found = [f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items() if names]
    if found:
        strange = given.keys().isdisjoint(wanted)
        hint = ", no name matches (weights of another architecture?)" if strange else ""
        raise InputError(f"{source} does not fit the model{hint}: {'; '.join(found)}")


def _some(names: Collection[str]) -> str:
    """Return the first few names on one line, and how many there are besides."""
    listed = ", ".join(_printable(name) for name in list(names)[:_LISTED])
    rest = len(names) - _LISTED
    return f"{listed} and {rest} more" if rest > 0 else listed


def _printable(name: str) -> str:
    short = name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
    return short if short.isprintable() else repr(short)


def _shared_prefix(names: Collection[str]) -> str:
    """Return the wrappers' prefixes that all names begin with, as one string."""
    shared = ""
    while names and (
        more := next((p for p in _PREFIXES if all(n.startswith(shared + p) for n in names)), "")
    ):
        shared += more
    return shared


def _why_refused(content: bytes, message: str) -> str:
    """Say why ``torch.load`` refused ``content`` with ``message``, and what to do about it."""
    if _is_torchscript(content):
        return f"is a TorchScript archive, which would run code when loaded: {_SAVE_ALONE}"
    names = _names_in_pickle(content)
    named = re.search(r"GLOBAL (\S+)", message)
    if named and names:
        wanted: str | None = named[1]
    elif "Unsupported operand" in message:  # of pickles that torch.save does not write
        wanted = next((name for name in names if not name.startswith(("torch.", "coll"))), None)
    else:
        wanted = None
    if wanted:
        return f"would run code when loaded ({_printable(wanted)}) and is refused: {_SAVE_ALONE}"
    return "is damaged, or not a checkpoint of torch.save (.pth, .pt, .ckpt, .tar)"


def _is_torchscript(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # whatever the bytes are
        return False


def _names_in_pickle(content: bytes) -> list[str]:
    """Return the dotted names that a checkpoint's pickles ask for, without running them."""
    stream = io.BytesIO(content)
    names: list[str] = []
    try:
        if zipfile.is_zipfile(stream):
            with zipfile.ZipFile(stream) as archive:
                entry = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
                stream = io.BytesIO(archive.read(entry))
        stream.seek(0)
        for _ in range(4):  # the legacy format has three short pickles before that of the content
            names += _names_in_one_pickle(stream)
    except Exception:  # whatever the bytes are
        return names
    return names


def _names_in_one_pickle(stream: io.BytesIO) -> list[str]:
    names: list[str] = []
    strings = ["", ""]
    for operation, argument, _ in pickletools.genops(stream):
        if operation.name in ("GLOBAL", "INST"):
            names.append(str(argument).replace(" ", "."))
        elif operation.name == "STACK_GLOBAL":
            names.append(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return names
