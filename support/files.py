"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    The content is synced to disk before the rename, and the folder after it, so that a crash at
    any moment leaves either the old file or the new one. The file gets the permissions that a
    plainly created file would have.

    Raises:
        InputError: when the folder cannot be written to or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` to ``path`` as UTF-8 with Unix line ends, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` to ``path`` as JSON (no NaN or infinity), whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def append_text(path: Path, content: str) -> None:
    """Append ``content`` to ``path`` as UTF-8; a file that is not there is made, with its folder.

    Raises:
        InputError: when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as stream:
            stream.write(content)
    except OSError as error:
        raise cannot_write(path, error) from error


def check_writable(path: Path, flag: str, *, begins: bytes = b"") -> None:
    """Refuse a file that could not be written later; a folder that is missing will be made.

    Args:
        path: the file.
        flag: the option that named it, for the error.
        begins: how the content of a file that may be replaced begins.

    Raises:
        InputError: when it is a folder or a pipe, holds something else than what may be replaced,
            or lies in a folder where no file can be made.
    """
    if path.is_dir():
        raise InputError(f"{flag} {str(path)!r} is a folder, not a file")
    if path.exists() and not (path.is_file() or path.is_char_device()):
        raise InputError(f"{flag} {str(path)!r} is a pipe or the like, not a file")
    if begins and path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(begins)) != begins:
                raise InputError(
                    f"{flag} {str(path)!r} holds something else already: pass another name"
                )
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> InputError:
    """Put a failed write into one line."""
    return InputError(f"cannot write {path}: {error.strerror or error}")


def read_bytes(path: Path, what: str, *, limit: int | None = None) -> bytes:
    """Read the file ``path``, which the user gave as ``what``.

    Raises:
        InputError: when it is missing, not a file, empty, unreadable, or over ``limit`` bytes.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{what} {str(path)!r} is not a file")
        if size == 0:
            raise InputError(f"{what} {str(path)!r} is empty")
        if limit is not None and size > limit:
            raise InputError(f"{what} {str(path)!r} is {size} bytes: the limit is {limit} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{what} {str(path)!r} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {what} {str(path)!r}: {error.strerror or error}") from None
    except ValueError:
        raise InputError(f"{what} {str(path)!r} is not a path: it holds a null byte") from None


def sync_folder(path: Path) -> None:
    """See to it that the names of the files in a folder are on the disk."""
    if os.name == "posix":
        _sync(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
