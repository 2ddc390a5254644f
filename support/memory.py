"""How much memory there is, and how sizes are written."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from .errors import InputError

_CGROUP = Path("/sys/fs/cgroup")
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_size(text: str, what: str) -> int:
    """Return the bytes of a size such as ``"8GiB"`` or ``"500 MB"``.

    Raises:
        InputError: when it is not a positive number with a known unit.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2] not in _UNITS or float(match[1]) <= 0:
        raise InputError(f"{what} must be a size such as 8GiB or 500MB, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


def format_size(size: float) -> str:
    """Return a size in bytes with the unit that suits it, such as ``"1.5 GiB"``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def available_memory() -> int:
    """Return the bytes of main memory that can be taken without pushing anything out.

    On Linux this is the kernel's estimate, or what a container's limit leaves where that is less.
    Where the system does not tell what is free, it is half of the memory there is.
    """
    if sys.platform == "win32":
        return _free_on_windows()
    values = _fields(Path("/proc/meminfo"))
    if "MemAvailable:" in values:
        return min(values["MemAvailable:"] * 1024, _left_in_container(_CGROUP))
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")) // 2


def _left_in_container(group: Path) -> int:
    """Return what the memory limit of a control group (version 2, then 1) leaves."""
    for limit, used, reclaimable in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((group / limit).read_text())
            taken = int((group / used).read_text())
        except (OSError, ValueError):  # no such limit, or "max"
            continue
        cached = _fields((group / used).with_name("memory.stat")).get(reclaimable, 0)
        return max(0, most - taken + cached)
    return sys.maxsize


def _fields(path: Path) -> dict[str, int]:
    """Read lines that start with a name and a number."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}


def _free_on_windows() -> int:
    if sys.platform != "win32":
        raise OSError("not on Windows")
    import ctypes

    class MemoryStatus(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("available", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 5),
        )

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available)
