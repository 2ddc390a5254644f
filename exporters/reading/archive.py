"""Zip archives: written the same everywhere, read as if an enemy had made them.

Written archives hold no time, owner or permission of the machine. Read archives must have the
plain form that this module writes and common zip tools share: no comment, files stored or deflated,
nothing before, between and behind the records, and the record before each file as the list of
members says. Else two programs could unpack different files from one archive, and a check of one
would say nothing of the other.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from ...support.errors import InputError
from ...support.files import cannot_write, replacing, write_bytes
from .onnx_wire import MAX_MODEL_BYTES

MAX_MEMBERS = 64
MAX_MEMBER_BYTES = MAX_MODEL_BYTES
MAX_TOTAL_BYTES = MAX_MEMBER_BYTES + (256 << 20)
MAX_DIRECTORY_BYTES = 1 << 20  # of the list of members
MAX_NAME_CHARACTERS = 200
MAX_RATIO = 500  # bytes from one deflated byte, in a member of more than FREE_BYTES
FREE_BYTES = 64 << 20

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold
_UNIX = 3
_MODE = stat.S_IFREG | 0o644
_END = struct.Struct("<4s4H2LH")  # end-of-directory record: signature, disks, counts, size, offset
_LOCAL = struct.Struct("<4s5H3L2H")  # record before each member; the last two: name, extra bytes
_LOCATOR_BYTES = 20  # of the zip64 end-of-directory locator
_BAD_FLAGS = 0x0001 | 0x0020 | 0x0040 | 0x2000  # encrypted (three ways), patched
_PLAIN_FLAGS = 0x0002 | 0x0004 | 0x0800  # how well it was deflated; names are UTF-8
_HARMLESS_EXTRA = {0x000A, 0x5455, 0x5855, 0x7875}  # times and owners of a file
_DEVICES = {"con", "prn", "aux", "nul"}
_DEVICES |= {f"{kind}{number}" for kind in ("com", "lpt") for number in range(1, 10)}
"""Names that Windows takes for devices, whatever the ending."""
_CHUNK = 1 << 20


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    """Write ``members`` (content by name, in the given order) as a zip archive at ``path``.

    The bytes depend on the names, the contents and the zlib library only.

    Raises:
        InputError: when the archive would be one that :func:`read_archive` refuses, or the file
            cannot be written.
    """
    with replacing(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in members.items():
                entry = zipfile.ZipInfo(name, _EPOCH)
                entry.create_system = _UNIX
                entry.external_attr = _MODE << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, content, compresslevel=9)
        with temporary.open("rb") as handle:
            _open(handle, path).close()


class Archive:
    """An open zip archive whose list of members passed every check; folders are left out."""

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self._path = archive, path
        self._entries = {e.filename: e for e in archive.infolist() if not e.is_dir()}
        self.folders = {e.filename for e in archive.infolist() if e.is_dir()}
        """The names of the folders that have a record of their own; each ends in a slash."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the files, in their order."""
        return tuple(self._entries)

    def size(self, name: str) -> int:
        """Return the bytes of a file, unpacked, as the archive says."""
        return self._entries[name].file_size

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            InputError: as :meth:`chunks`.
        """
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file bit by bit, so that it need not fit into memory.

        Raises:
            InputError: when it is damaged, differs from its checksum, or has another size than
                the archive says.
        """
        entry, what = self._entries[name], f"archive {str(self._path)!r}: member {name!r}"
        done = 0
        try:
            with self._archive.open(entry) as member:
                while chunk := member.read(_CHUNK):
                    done += len(chunk)
                    if done > entry.file_size:
                        raise InputError(f"{what} is longer than it says ({entry.file_size} bytes)")
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError) as error:
            raise InputError(f"{what} is damaged: {_reason(error)}") from None
        except OSError as error:
            raise _cannot_read(self._path, error) from None
        if done != entry.file_size:
            raise InputError(f"{what} has {done} bytes and says {entry.file_size}")


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open the zip archive at ``path`` for reading, its list of members checked.

    Raises:
        InputError: when it is not a whole zip archive of the plain form, a name could lead outside
            a folder or means something else elsewhere, two names are the same, a member is neither
            file nor folder, members share bytes or leave some out, or a limit of this module is
            passed.
    """
    with ExitStack() as stack:
        try:
            if path.exists() and not path.is_file():
                raise InputError(f"archive {str(path)!r} is not a file")
            handle = stack.enter_context(path.open("rb"))
            archive = stack.enter_context(_open(handle, path))
        except FileNotFoundError:
            raise InputError(f"archive {str(path)!r} does not exist") from None
        except OSError as error:
            raise _cannot_read(path, error) from None
        yield Archive(archive, path)


def read_archive(path: Path) -> dict[str, bytes]:
    """Read every file of the zip archive at ``path`` into memory, by name; folders are left out.

    Raises:
        InputError: as :func:`open_archive`; or when content differs from its checksum or size.
    """
    with open_archive(path) as archive:
        return {name: archive.read(name) for name in archive.names}


def unpack_archive(path: Path, folder: Path) -> list[Path]:
    """Unpack the zip archive at ``path`` into ``folder``, which must be new or empty.

    Nothing is written before the whole archive has been read and checked as by
    :func:`read_archive`.

    Returns:
        The files written.

    Raises:
        InputError: as :func:`read_archive`; or when the folder is in use or cannot be written to.
    """
    try:
        if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
            raise InputError(f"folder {str(folder)!r} must be new or empty to unpack into")
    except OSError as error:
        raise cannot_write(folder, error) from None
    members = read_archive(path)
    for name, content in members.items():
        write_bytes(folder / name, content)
    return [folder / name for name in members]


def _open(handle: IO[bytes], path: Path) -> zipfile.ZipFile:
    """Open an archive whose list of members has been checked against every rule and limit."""
    what = f"archive {str(path)!r}"
    _check_end(handle, what)
    try:
        archive = zipfile.ZipFile(handle)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise InputError(f"{what} is not a valid zip archive: {_reason(error)}") from None
    entries = archive.infolist()
    for entry in entries:
        _check_name(entry, what)
        _check_kind(entry, what)
    _check_sizes(entries, what)
    _check_clashes(entries, what)
    _check_records(handle, archive, what)
    return archive


def _check_end(handle: IO[bytes], what: str) -> None:
    """Refuse a file that does not end in a plain, single, small list of members."""
    size = handle.seek(0, os.SEEK_END)
    if size < _END.size:
        raise InputError(f"{what} is not a zip archive, or is cut short ({size} bytes)")
    start = max(0, size - _END.size - _LOCATOR_BYTES)
    handle.seek(start)
    tail = handle.read(size - start)
    signature, disk, first_disk, here, count, length, offset, comment = _END.unpack(
        tail[-_END.size :]
    )
    if signature != b"PK\5\6" or comment:
        raise InputError(f"{what} is not a zip archive, or is cut short, or has a comment")
    if tail.startswith(b"PK\6\7"):
        raise InputError(f"{what} is in the zip64 form, which only larger archives need")
    if disk or first_disk or here != count or offset + length != size - _END.size:
        raise InputError(f"{what} is damaged: its list of members is not where it should be")
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise InputError(
            f"{what} has {count} members in {length} bytes of list: "
            f"the limits are {MAX_MEMBERS} and {MAX_DIRECTORY_BYTES}"
        )


def _check_name(entry: zipfile.ZipInfo, what: str) -> None:
    name = entry.orig_filename
    parts = (name[:-1] if name.endswith("/") else name).split("/")
    if len(name) > MAX_NAME_CHARACTERS:
        problem = f"is longer than {MAX_NAME_CHARACTERS} characters"
    elif re.search(r'[\\:*?"<>|]', name) or any(map(_unseen, name)):
        problem = "has a backslash, colon, wildcard, or a character that is not seen"
    elif any(part in ("", ".", "..") for part in parts):
        problem = "is absolute, empty, or has a part '.' or '..'"
    elif any(part != part.strip(" ") or part.endswith(".") for part in parts):
        problem = "has a space at an end, or a dot at the end"
    elif any(part.casefold().partition(".")[0] in _DEVICES for part in parts):
        problem = "is that of a device on Windows"
    elif name != entry.filename:
        problem = "means another name to some programs"
    else:
        return
    raise InputError(f"{what} has a member name that {problem}: {name[:MAX_NAME_CHARACTERS]!r}")


def _unseen(character: str) -> bool:
    """Tell whether a character is of the categories Other or Separator, a plain space aside."""
    return character != " " and unicodedata.category(character)[0] in "CZ"


def _check_kind(entry: zipfile.ZipInfo, what: str) -> None:
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        raise InputError(f"{what}: member {entry.filename!r} is a link or a special file")
    if mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
        raise InputError(f"{what}: member {entry.filename!r} takes the rights of its owner")
    if entry.flag_bits & _BAD_FLAGS:
        raise InputError(f"{what}: member {entry.filename!r} is encrypted or a patch")
    if entry.flag_bits & ~_PLAIN_FLAGS:
        raise InputError(
            f"{what}: member {entry.filename!r} has its size behind it or an unknown flag "
            f"({entry.flag_bits:#06x}): write the archive anew"
        )
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{what}: member {entry.filename!r} must be stored or deflated, "
            f"got method {entry.compress_type}"
        )
    if entry.is_dir() and entry.file_size:
        raise InputError(f"{what}: folder {entry.filename!r} has content")


def _check_sizes(entries: list[zipfile.ZipInfo], what: str) -> None:
    if len(entries) > MAX_MEMBERS:
        raise InputError(f"{what} has {len(entries)} members: the limit is {MAX_MEMBERS}")
    for entry in entries:
        size, name = entry.file_size, entry.filename
        if size > MAX_MEMBER_BYTES:
            raise InputError(
                f"{what}: member {name!r} has {size} bytes: the limit is {MAX_MEMBER_BYTES}"
            )
        if size > FREE_BYTES and size > MAX_RATIO * entry.compress_size:
            raise InputError(
                f"{what}: member {name!r} grows from {entry.compress_size} to {size} bytes: "
                f"above {FREE_BYTES} bytes the limit is {MAX_RATIO} times"
            )
    total = sum(entry.file_size for entry in entries)
    if total > MAX_TOTAL_BYTES:
        raise InputError(f"{what} holds {total} bytes: the limit is {MAX_TOTAL_BYTES}")
    packed = sum(entry.compress_size for entry in entries)
    if total > FREE_BYTES + MAX_RATIO * packed:
        raise InputError(
            f"{what} grows from {packed} to {total} bytes: above {FREE_BYTES} bytes the limit is "
            f"{MAX_RATIO} times"
        )


def _check_clashes(entries: list[zipfile.ZipInfo], what: str) -> None:
    """Refuse names that are one on some file system, and a file where others need a folder."""
    seen: dict[str, str] = {}
    for entry in entries:
        key = unicodedata.normalize("NFKC", entry.filename).casefold().rstrip("/")
        if key in seen:
            raise InputError(f"{what} has two members of the same name: {entry.filename!r}")
        seen[key] = entry.filename
    files = {key for key, name in seen.items() if not name.endswith("/")}
    for key, name in seen.items():
        parts = key.split("/")
        if any("/".join(parts[:depth]) in files for depth in range(1, len(parts))):
            raise InputError(f"{what}: member {name!r} lies in another member, which is a file")


def _check_records(handle: IO[bytes], archive: zipfile.ZipFile, what: str) -> None:
    """Refuse members that share bytes or leave some out, or whose records differ from the list."""
    end = 0
    for entry in sorted(archive.infolist(), key=lambda entry: entry.header_offset):
        if entry.header_offset < end:
            raise InputError(f"{what}: member {entry.filename!r} overlaps another")
        if entry.header_offset > end:
            raise InputError(f"{what} has bytes before member {entry.filename!r} that are in none")
        end += _check_record(handle, entry, what) + entry.compress_size
    if end > archive.start_dir:
        raise InputError(f"{what}: a member overlaps the list of members")
    if end < archive.start_dir:
        raise InputError(f"{what} has bytes before the list of members that are in none")


def _check_record(handle: IO[bytes], entry: zipfile.ZipInfo, what: str) -> int:
    """Check the record before a member against the list of members, and return its length."""
    handle.seek(entry.header_offset)
    record = handle.read(_LOCAL.size)
    if len(record) < _LOCAL.size or not record.startswith(b"PK\3\4"):
        raise InputError(f"{what} is damaged at member {entry.filename!r}")
    _, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes = _LOCAL.unpack(record)
    name, extra = handle.read(name_bytes), handle.read(extra_bytes)
    code = "utf-8" if entry.flag_bits & 0x0800 else "cp437"
    if (flags, method, crc, packed, size, name) != (
        entry.flag_bits, entry.compress_type, entry.CRC, entry.compress_size, entry.file_size,
        entry.orig_filename.encode(code, "replace"),
    ):  # fmt: skip
        raise InputError(f"{what}: the record of {entry.filename!r} is not as the list says")
    for field in (entry.extra, extra):
        _check_extra(field, f"{what}: member {entry.filename!r}")
    return _LOCAL.size + len(name) + len(extra)


def _check_extra(extra: bytes, what: str) -> None:
    """Refuse what is added to a record, such as another name, but for times and owners."""
    at = 0
    while at < len(extra):
        kind = int.from_bytes(extra[at : at + 2], "little")
        if kind not in _HARMLESS_EXTRA or at + 4 > len(extra):
            raise InputError(f"{what} has a part of the kind {kind:#06x} added to its record")
        at += 4 + int.from_bytes(extra[at + 2 : at + 4], "little")
    if at != len(extra):
        raise InputError(f"{what} has a damaged part added to its record")


def _cannot_read(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot read archive {str(path)!r}: {error.strerror or error}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
