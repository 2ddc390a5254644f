"""The library of sparse kernels: where it lies, why it is not there, how a session gets it."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import onnxruntime as ort

from ...support.errors import InputError
from ..reading.kernel_use import file_uses_kernels
from .platforms import PLATFORMS, platform_name

LIBRARIES = Path(__file__).parents[1] / "runtime" / "libraries"
"""A folder for each platform, made when wfpipe is installed (``runtime/building``)."""

_BUILD = "python -m wfpipe.exporters.runtime.building"

# Of a 64-bit ELF file: where its program headers lie, their size and number; the offset and the
# size in the file of each segment.
_TABLE, _COUNT, _SEGMENT = struct.Struct("<32xQ"), struct.Struct("<HH"), struct.Struct("<8xQ16xQ")


def available() -> list[str]:
    """Return the platforms whose libraries are in the installed package."""
    return [name for name in PLATFORMS if library_path(name)]


def library_path(platform: str | None = None) -> Path | None:
    """Return the library for ``platform`` (default: this machine's), or None if there is none."""
    folder = LIBRARIES / (platform or platform_name())
    return next(iter(sorted(folder.glob("*wfpipe_kernels.*"))), None)


def why_missing(platform: str | None = None) -> str:
    """Say why the library for ``platform`` is not there, and what would bring it."""
    name = platform or platform_name()
    if name not in PLATFORMS:
        return f"there are no sparse kernels for {name}: they exist for {', '.join(PLATFORMS)}"
    if name != platform_name():
        there = ", ".join(available()) or "none"
        reason = f"this wfpipe has those of: {there}"
    else:
        reason = _reason()
    command = _BUILD if name == platform_name() else f"{_BUILD} {name}"
    return (
        f"the sparse kernels for {name} are not installed: {reason}. "
        f"Build them with: pip install ziglang && {command}"
    )


def libraries_for(platforms: Sequence[str] | None) -> dict[str, Path]:
    """Return the libraries for ``platforms`` (None: this machine's) by the platform's name.

    Raises:
        InputError: when one is not in the installed package, with what would bring it.
    """
    found = {}
    for name in platforms or [platform_name()]:
        library = library_path(name)
        if library is None:
            raise InputError(why_missing(name))
        found[name] = library
    return found


def _reason() -> str:
    """Return what the build left word of."""
    note = LIBRARIES / "why-missing.txt"
    if note.is_file():
        return note.read_text(encoding="utf-8").strip()
    return "wfpipe was copied, not installed"


def kernel_path(library: Path) -> str:
    """Return which processor path of ``library`` runs on this machine, for example ``avx2``.

    Raises:
        InputError: when the library does not load here or is not one of wfpipe's.
    """
    _check_whole(library)
    try:
        function = ctypes.CDLL(str(library)).wfpipe_kernels_path
    except (OSError, AttributeError) as error:
        raise InputError(_unusable(library, error)) from None
    function.restype = ctypes.c_char_p
    return bytes(function()).decode()


def path_in_use(models: Iterable[Path]) -> str | None:
    """Return the processor path that runs sparse kernels of ``models`` here; None: they use none.

    Raises:
        InputError: when one of the files is no model, or needs kernels that are not installed.
    """
    if not any(map(file_uses_kernels, models)):
        return None
    (library,) = libraries_for(None).values()
    return kernel_path(library)


def register(options: ort.SessionOptions, library: Path) -> None:
    """Give the sessions made with ``options`` the operators of ``library``. Once per options.

    Raises:
        InputError: when ONNX Runtime cannot load it.
    """
    _check_whole(library)
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:  # the runtime's own classes derive from Exception alone
        raise InputError(_unusable(library, error)) from None


def lacks_kernels(failure: str) -> bool:
    """Tell whether ONNX Runtime's ``failure`` is that it has no kernels for a model of ours."""
    unknown = "wfpipe is not a registered function/op" in failure or "wfpipe:" in failure
    return unknown and library_path() is None


def _check_whole(library: Path) -> None:
    """Refuse an ELF library that ends before its segments do: Linux kills who loads it.

    What else is wrong with a library its loader says by itself.
    """
    try:
        content = library.read_bytes()
    except OSError:
        return
    if not content.startswith(b"\x7fELF\x02\x01"):
        return
    try:
        (table,), (size, count) = _TABLE.unpack_from(content), _COUNT.unpack_from(content, 54)
        ends = [sum(_SEGMENT.unpack_from(content, table + size * i)) for i in range(count)]
    except struct.error:  # not even the table is there
        ends = [len(content) + 1]
    if max(ends, default=0) > len(content):
        raise InputError(_unusable(library, "it is cut short; install wfpipe again"))


def _unusable(library: Path, error: Exception | str) -> str:
    cause = (str(error).strip().splitlines() or ["no reason given"])[0]
    return f"library {str(library)!r} of sparse kernels cannot be used here: {cause}"
