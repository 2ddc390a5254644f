"""Tensors that an ONNX model keeps in files beside it."""

from __future__ import annotations

import re
import stat
from pathlib import Path, PurePosixPath

import onnx
from onnx import TensorProto

from ...support.errors import InputError
from .onnx_limits import tensor_bytes
from .onnx_walk import message_text, shown, walk
from .onnx_wire import memory_limit


def check_external_data(proto: onnx.ModelProto, folder: Path, size: int, what: str) -> list[Path]:
    """Return the files in ``folder`` that hold values of the model, having checked every use.

    Args:
        proto: the parsed model, within the limits of :mod:`exporters.reading.onnx_limits`.
        folder: where the model's file lies.
        size: bytes of the model's file.
        what: the model as the user knows it, for the error.

    Raises:
        InputError: when a tensor's file is not a plain file in the folder or a folder in it, is
            reached by a link, or is too short; or all take more memory than their files may.
    """
    files: dict[Path, int] = {}
    total = 0
    for part in walk(proto):
        if not isinstance(part, TensorProto) or not is_external(part):
            continue
        try:
            path, length = _locate(part, folder)
            files[path] = path.stat().st_size
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            name = shown(part.name)
            raise InputError(f"{what}: tensor {name} cannot be read: {reason}") from None
        total += length
    allowed = memory_limit(size + sum(files.values()))
    if total > allowed:
        raise InputError(
            f"{what}: its tensors outside take {total} bytes: with these files {allowed} may"
        )
    return sorted(files)


def is_external(tensor: TensorProto) -> bool:
    """Tell whether a tensor has its values, or says anything of them, in another file."""
    return tensor.data_location != TensorProto.DEFAULT or bool(tensor.external_data)


def _locate(tensor: TensorProto, folder: Path) -> tuple[Path, int]:
    """Return the file and the number of bytes of a tensor outside the model."""
    entries = {message_text(entry.key): message_text(entry.value) for entry in tensor.external_data}
    location = entries.get("location", "")
    if tensor.data_location != TensorProto.EXTERNAL or tensor.HasField("raw_data"):
        raise ValueError("it is said to be both in the model and in another file")
    if tensor.data_type == TensorProto.STRING:
        raise ValueError("strings are not kept in other files")
    parts = PurePosixPath(location).parts
    if not parts or ".." in parts or parts[0] == "/" or re.search(r"[\x00-\x1f\\:*]", location):
        raise ValueError(f"its file must lie in the model's folder, got {shown(location)}")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ValueError(f"its file {shown(location)} is reached by a link")
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"its file {shown(location)} is not a file")
    wanted = tensor_bytes(tensor)
    offset, length = (_number(entries, key) for key in ("offset", "length"))
    if length not in (None, wanted):
        raise ValueError(f"it has {length} bytes, and its shape and type say {wanted}")
    end = (offset or 0) + wanted
    size = path.stat().st_size
    if end > size or (length is None and end != size):
        raise ValueError(f"it ends at byte {end} of {shown(location)}, which has {size}")
    return path, wanted


def _number(entries: dict[str, str], key: str) -> int | None:
    text = entries.get(key)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(f"its {key} must be a number of bytes, got {shown(text)}")
    return int(text)
