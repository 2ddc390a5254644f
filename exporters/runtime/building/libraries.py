"""The libraries of sparse kernels in the package: made, or the reason left why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from ...measuring.platforms import platform_name
from ..compiler import NATIVE, PLATFORMS, CompilationFailed, compile_library
from .toolchain import system_compiler, zig_compiler

LIBRARIES = Path(__file__).parents[1] / "libraries"


class NotBuilt(Exception):
    """A library could not be made: one line that says why."""


def switched_off() -> bool:
    """Tell whether the environment asks for wfpipe without kernels (``WFPIPE_NO_KERNELS=1``)."""
    return os.environ.get("WFPIPE_NO_KERNELS", "0") not in ("", "0")


def check_platforms(names: Sequence[str]) -> None:
    """Hold names of platforms to those that there are kernels for.

    Raises:
        NotBuilt: when there are none for one of them.
    """
    for name in names:
        if name not in PLATFORMS:
            raise NotBuilt(f"there are no kernels for {name!r}, only for {', '.join(PLATFORMS)}")


def choose_compiler(platform: str, *, portable: bool) -> list[str]:
    """Return the command of a compiler for ``platform``: the system's first, then zig's.

    ``portable``: the library is for other machines than this, so that zig alone will do.

    Raises:
        NotBuilt: when there is none.
    """
    own = platform == platform_name() and not portable
    command = (system_compiler() if own else None) or zig_compiler(PLATFORMS[platform].zig_target)
    if command is None:
        raise NotBuilt(f"{'no C++ compiler works here, and ' if own else ''}zig is not installed")
    return command


def build_library(platform: str, compiler: Sequence[str]) -> Path:
    """Compile the library for ``platform`` into the package, whole or not at all.

    Raises:
        NotBuilt: when the compiler fails.
    """
    target = LIBRARIES / platform / PLATFORMS[platform].library
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        compile_library(target, platform, compiler)
    except (CompilationFailed, OSError) as error:
        raise NotBuilt(str(error)) from error
    _note().unlink(missing_ok=True)
    return target


def up_to_date(platform: str) -> bool:
    """Tell whether the library for ``platform`` is newer than all that it is made from."""
    library = LIBRARIES / platform / PLATFORMS[platform].library
    sources = [*NATIVE.iterdir(), NATIVE.with_name("compiler.py")]
    newest = max(source.stat().st_mtime for source in sources)
    return library.is_file() and library.stat().st_mtime >= newest


def keep_only(platforms: Collection[str]) -> None:
    """Take the libraries of other platforms, which earlier builds left, out of the package."""
    for folder in LIBRARIES.iterdir() if LIBRARIES.is_dir() else ():
        if folder.is_dir() and folder.name not in platforms:
            shutil.rmtree(folder)


def note_missing(reason: str) -> None:
    """Leave word in the package why there is no library in it."""
    keep_only(())
    LIBRARIES.mkdir(exist_ok=True)
    _note().write_text(reason + "\n", encoding="utf-8")


def _note() -> Path:
    return LIBRARIES / "why-missing.txt"
