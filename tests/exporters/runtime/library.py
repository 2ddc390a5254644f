"""The kernels' library, compiled once for all tests that need it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from wfpipe.exporters.measuring.kernels_library import library_path
from wfpipe.exporters.runtime import compiler

ROOT = Path(compiler.NATIVE).parents[2]
COMPILER = ("g++",)


def kernels(*, sanitize: bool = False) -> Path:
    """Return the library for this machine, with the test-only path ``wide`` where that can be.

    Where there is no compiler it is the one that is installed, and none with sanitizers.
    """
    platform = compiler.this_platform()
    if platform is None or shutil.which(COMPILER[0]) is None:
        installed = library_path()
        if sanitize or installed is None:
            pytest.skip(f"no {COMPILER[0]} that makes libraries for this machine")
        return installed
    where = compiler.PLATFORMS[platform]
    folder = ROOT / "build" / "kernels" / f"{_sources()}{'-sanitize' if sanitize else ''}"
    library = folder / where.library
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wide = (compiler.WIDE,) if platform.endswith("x86_64") else ()
        compiler.compile_library(library, platform, COMPILER, sanitize=sanitize, extra_paths=wide)
    return library


def _sources() -> str:
    """Return a digest of all that is compiled, so that a change is compiled anew."""
    digest = hashlib.sha256(Path(compiler.__file__).read_bytes())
    for path in sorted(compiler.NATIVE.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]
