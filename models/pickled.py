"""Checkpoints of ``torch.save``, read without running anything in them."""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from typing import Any

import torch

from ..support.errors import InputError
from ..support.names import short_name

SAVE_ALONE = "save model.state_dict() alone, with torch.save or as .safetensors, and pass that"

# What training state holds beside tensors: plain data. None of it is built, nor its module
# imported: a stand-in that keeps nothing takes its place.
_DATA = re.compile(
    r"""(
        numpy(\._?core)?\.multiarray\.(scalar|_reconstruct) | numpy\._core\.numeric\._frombuffer
        | numpy\.(dtype|ndarray|dtypes\.\w+|bool_?|(u?int|float|complex)\d+)
        | argparse\.Namespace | types\.SimpleNamespace | easydict\.EasyDict
        | pathlib\.\w+ | datetime\.\w+ | decimal\.Decimal | fractions\.Fraction | uuid\.UUID
        | builtins\.(list|dict|tuple|frozenset|slice|range|int|float|bool|str|bytes|object)
        | omegaconf(\.\w+)*\.\w+ | typing\.\w+ | collections\.deque
    )""",
    re.VERBOSE,
)
_MAPPINGS = ("collections.defaultdict",)


class _StandIn:
    """Takes the place of an object of a checkpoint: accepts whatever it is made of, keeps none."""

    def __new__(cls, *_: Any) -> _StandIn:
        return object.__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _mapping(*_: Any) -> dict[Any, Any]:
    return {}


def read_pickled(what: str, content: bytes) -> Any:
    """Return what a checkpoint of ``torch.save`` holds; nothing in the file is run.

    NumPy scalars and arrays, ``argparse.Namespace``, paths, dates and settings of OmegaConf are
    replaced by stand-ins that hold nothing: their own code is neither imported nor called.

    Args:
        what: what the file is called in an error.
        content: its bytes.

    Raises:
        InputError: when it is damaged, of another kind, or would run code when loaded.
    """
    stand_ins: list[Any] = [
        (_mapping if name in _MAPPINGS else _StandIn, name)
        for name in set(_names_in_pickle(content))
        if name in _MAPPINGS or _DATA.fullmatch(name)
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes are
        raise InputError(f"{what} {_why_refused(content, str(error))}") from None


def _why_refused(content: bytes, message: str) -> str:
    """Say why ``torch.load`` refused ``content`` with ``message``, and what to do about it."""
    if _is_torchscript(content):
        return f"is a TorchScript archive, which would run code when loaded: {SAVE_ALONE}"
    names = _names_in_pickle(content)
    named = re.search(r"GLOBAL (\S+)", message)
    if named and names:
        wanted: str | None = named[1]
    elif "Unsupported operand" in message:  # of pickles that torch.save does not write
        strange = (
            n for n in names if not n.startswith(("torch.", "coll")) and not _DATA.fullmatch(n)
        )
        wanted = next(strange, None)
    else:
        wanted = None
    if wanted:
        return f"would run code when loaded ({short_name(wanted)}) and is refused: {SAVE_ALONE}"
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
            names.append(_name_today(*str(argument).split(" ", 1)))
        elif operation.name == "STACK_GLOBAL":
            names.append(".".join(strings[-2:]))
        elif isinstance(argument, str):
            strings.append(argument)
    return names


def _name_today(module: str, name: str = "") -> str:
    """Return the dotted name of what protocol 2 calls as Python 2 did."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"
