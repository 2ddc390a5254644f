"""How much memory there is, and how sizes are written."""

from __future__ import annotations

import os
import re

from .errors import InputError

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
    """Return the bytes of main memory that can be used without swapping.

    Linux states them; elsewhere half of the memory of the machine is taken (a heuristic).
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * 2**30
