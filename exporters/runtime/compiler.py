"""How the kernels' library is compiled: which sources, once for which processors, which flags.

Nothing but the standard library is needed here, so that a build of the package can use this file
before anything else of it is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..measuring.platforms import platform_name

NATIVE = Path(__file__).parent / "native"
"""The folder of the sources."""


class CompilationFailed(Exception):
    """The compiler did not run, or refused: its first words."""


class ProcessorPath(NamedTuple):
    """One way in which the kernels are compiled.

    Attributes:
        name: what ``WFPIPE_KERNELS`` and the library call it.
        lanes: floats of a vector.
        flags: of the compiler, for the source of this path alone.
    """

    name: str
    lanes: int
    flags: tuple[str, ...]


class Platform(NamedTuple):
    """An operating system on a processor.

    Attributes:
        name: for example ``linux-x86_64``.
        library: file name of the library.
        zig_target: the target's name for ``zig c++ -target``, with the oldest system it runs on.
        paths: ways to compile the kernels, of which the library takes the best when it loads.
    """

    name: str
    library: str
    zig_target: str
    paths: tuple[ProcessorPath, ...]


_X86 = (
    ProcessorPath("baseline", 4, ()),
    ProcessorPath("avx2", 8, ("-mavx2", "-mfma", "-mf16c")),
    ProcessorPath("avx512", 16, ("-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma")),
)
_ARM = (ProcessorPath("neon", 4, ()),)
_LIBRARY = "libwfpipe_kernels.so"
WIDE = ProcessorPath("wide", 16, ("-mavx2", "-mfma", "-mf16c"))
"""The code of ``avx512`` for processors without it; for tests of its logic alone."""

PLATFORMS: Mapping[str, Platform] = MappingProxyType(
    {
        each.name: each
        for each in (
            Platform("linux-x86_64", _LIBRARY, "x86_64-linux-gnu.2.17", _X86),
            Platform("linux-aarch64", _LIBRARY, "aarch64-linux-gnu.2.17", _ARM),
            Platform("macos-arm64", "libwfpipe_kernels.dylib", "aarch64-macos.11.0", _ARM),
            Platform("windows-x86_64", "wfpipe_kernels.dll", "x86_64-windows-gnu", _X86),
        )
    }
)
"""The platforms that a library can be made for, by name: those of ``measuring/platforms.py``."""

_FLAGS = (
    "-std=c++17", "-O3", "-fvisibility=hidden", "-fvisibility-inlines-hidden",
    "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wextra",
    "-Wno-psabi", "-Wno-ignored-attributes",
)  # fmt: skip
_SANITIZE = (
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer", "-g", "-O1",
)  # fmt: skip
_SELFTEST = "selftest.cpp"
_BY_PATH = "path.cpp"
_GLUE = ("kernels.cpp", "layout.cpp", "operators.cpp", "ort_node.cpp")  # for ONNX Runtime alone


def this_platform() -> str | None:
    """Return the name of the platform that this process runs on, or None where there is none."""
    name = platform_name()
    return name if name in PLATFORMS else None


def compile_library(
    target: Path,
    platform: str,
    compiler: Sequence[str],
    *,
    sanitize: bool = False,
    paths: Sequence[ProcessorPath] | None = None,
) -> None:
    """Compile and link the library; nothing lies at the target when that fails.

    Args:
        target: file to write, for example ``folder / PLATFORMS[platform].library``.
        platform: a name of ``PLATFORMS``.
        compiler: words of the command of a C++ compiler that makes code for that platform (g++ 12
            or newer, clang 15 or newer, ``python -m ziglang c++ -target …``).
        sanitize: look for addresses outside and undefined behaviour at run time; for tests.
        paths: processor paths in place of the platform's, for tests; the first runs anywhere.

    Raises:
        CompilationFailed: when the compiler does not run, or refuses.
    """
    flags = _link_flags(PLATFORMS[platform], compiler, sanitize)
    _build(target, platform, compiler, flags, paths, sanitize=sanitize, glue=True)


def compile_selftest(
    target: Path,
    platform: str,
    compiler: Sequence[str],
    *,
    sanitize: bool = False,
    paths: Sequence[ProcessorPath] | None = None,
) -> None:
    """Compile the program that tests the kernels without ONNX Runtime; see ``compile_library``."""
    flags = ["-fsanitize=address,undefined"] if sanitize else ["-static"]
    _build(target, platform, compiler, flags, paths, sanitize=sanitize, glue=False)


def _build(
    target: Path,
    platform: str,
    compiler: Sequence[str],
    link_flags: Sequence[str],
    paths: Sequence[ProcessorPath] | None,
    *,
    sanitize: bool,
    glue: bool,
) -> None:
    """Compile, link under the target's name, and put it there."""
    where = PLATFORMS[platform]
    paths = where.paths if paths is None else paths
    with tempfile.TemporaryDirectory() as folder:
        objects = _objects(Path(folder), where, paths, compiler, sanitize=sanitize, glue=glue)
        made = Path(folder) / target.name
        _run([*compiler, *link_flags, *objects, "-o", str(made)])
        _put(made, target)


def _objects(
    folder: Path,
    where: Platform,
    paths: Sequence[ProcessorPath],
    compiler: Sequence[str],
    *,
    sanitize: bool,
    glue: bool,
) -> list[str]:
    """Compile all sources, those of the kernels once per processor path; return the objects."""
    flags = [*_FLAGS, *(_SANITIZE if sanitize else ())]
    if not where.name.startswith("windows"):
        flags.append("-fPIC")
    known = [f"-DWFPIPE_PATHS={' '.join(f'WFPIPE_PATH({path.name})' for path in paths)}"]
    left_out = {_BY_PATH, *((_SELFTEST,) if glue else _GLUE)}
    units = [
        (source, source.stem, known)
        for source in sorted(NATIVE.glob("*.cpp"))
        if source.name not in left_out
    ]
    units += [
        (NATIVE / _BY_PATH, f"path_{path.name}",
         [f"-DWFPIPE_NAME={path.name}", f"-DWFPIPE_LANES={path.lanes}", *path.flags])
        for path in paths
    ]  # fmt: skip
    made = [str(folder / f"{name}.o") for _, name, _ in units]
    commands = [
        [*compiler, *flags, *more, "-c", str(source), "-o", object_]
        for (source, _, more), object_ in zip(units, made, strict=True)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        for _ in workers.map(_run, commands):
            pass
    return made


def _link_flags(where: Platform, compiler: Sequence[str], sanitize: bool) -> list[str]:
    """Return how a shared library is linked that shows its entry points alone."""
    if sanitize:
        return ["-shared", "-fsanitize=address,undefined"]
    if where.name.startswith("macos"):
        return ["-shared", "-s", f"-Wl,-install_name,@rpath/{where.library}"]
    if where.name.startswith("windows"):
        return ["-shared", "-s"]
    hidden = f"-Wl,--version-script={NATIVE / 'exports.map'}"
    zig = "ziglang" in compiler or any(Path(word).stem == "zig" for word in compiler)
    static = [] if zig else ["-static-libstdc++", "-static-libgcc"]  # zig's is never shared
    return ["-shared", "-s", hidden, *static]


def _put(made: Path, target: Path) -> None:
    """Move a file that was made to where it is wanted, whole or not at all."""
    half = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        shutil.copy(made, half)
        half.replace(target)
    finally:
        half.unlink(missing_ok=True)


def _run(command: Sequence[str]) -> None:
    """Run a command; raise its first complaint when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as problem:
        raise CompilationFailed(f"{command[0]} does not run: {problem}") from problem
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "")
        raise CompilationFailed(f"{command[0]} failed ({done.returncode}): {first.strip()}")
