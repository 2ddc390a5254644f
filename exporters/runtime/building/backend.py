"""The build backend (PEP 517, PEP 660): setuptools, with the library compiled before.

``WFPIPE_NO_KERNELS=1`` leaves the library out. ``WFPIPE_PLATFORMS=linux-aarch64`` (several:
by commas) builds with zig for those platforms instead of this one; the wheel is for the first.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from ...measuring.platforms import PLATFORMS, platform_name
from .libraries import (
    NotBuilt,
    build_library,
    check_platforms,
    choose_compiler,
    keep_only,
    note_missing,
    switched_off,
)
from .toolchain import ZIG_REQUIREMENT, is_zig, system_compiler, zig_can_be_had

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

_TAGS = {  # what zig builds for; a system's compiler builds for that system
    "linux-x86_64": "manylinux_2_17_x86_64",
    "linux-aarch64": "manylinux_2_17_aarch64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-x86_64": "win_amd64",
}


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return what building a wheel needs: zig, where no compiler works and zig can be had."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_zig()]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Return what an editable installation needs: the same as a wheel."""
    return [*build_meta.get_requires_for_build_editable(config_settings), *_zig()]


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel for all Pythons: of one platform with the library, or of any without."""
    with _setuptools_told(_make_libraries()):
        name = build_meta.build_wheel(wheel_directory, config_settings, metadata_directory)
    return str(name)


def build_editable(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Compile the library into the checkout, and build a wheel that points there."""
    _make_libraries()
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))


def _zig() -> list[str]:
    """Return zig as a requirement, or nothing."""
    if switched_off():
        return []
    if _ordered():
        return [ZIG_REQUIREMENT]
    if platform_name() not in PLATFORMS or system_compiler() or not zig_can_be_had():
        return []
    return [ZIG_REQUIREMENT]


def _make_libraries() -> str:
    """Fill the package's folder of libraries and return the wheel's platform tag.

    What was ordered must succeed; else wfpipe is installed without a library, and says so.
    """
    ordered = _ordered()
    try:
        return _build(ordered or [platform_name()], portable=bool(ordered))
    except NotBuilt as error:
        if ordered:
            raise
        note_missing(str(error))
        print(f"sparse kernels: left out, so that there is no form sparse-cpu: {error}")
        return "any"


def _build(platforms: list[str], *, portable: bool) -> str:
    if switched_off():
        raise NotBuilt("WFPIPE_NO_KERNELS was set when wfpipe was installed")
    check_platforms(platforms)
    keep_only(platforms)
    compilers = [choose_compiler(name, portable=portable) for name in platforms]
    for name, compiler in zip(platforms, compilers, strict=True):
        print(f"sparse kernels: {build_library(name, compiler)}, by {shlex.join(compiler)}")
    tag = _TAGS[platforms[0]]
    return tag if is_zig(compilers[0]) else tag.replace("manylinux_2_17", "linux")


def _ordered() -> list[str]:
    return os.environ.get("WFPIPE_PLATFORMS", "").replace(",", " ").split()


@contextmanager
def _setuptools_told(tag: str) -> Iterator[None]:
    """Give setuptools the wheel's platform, and a folder of its own to build in.

    In the checkout's ``build/`` it would find, and take, the libraries of earlier builds.
    """
    platform = "" if tag == "any" else f"[bdist_wheel]\nplat_name = {tag}\n"
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "settings.cfg")
        settings.write_text(f"[build]\nbuild_base = {folder}\n{platform}", encoding="utf-8")
        os.environ["DIST_EXTRA_CONFIG"] = str(settings)
        try:
            yield
        finally:
            del os.environ["DIST_EXTRA_CONFIG"]
