"""The names of the platforms that wfpipe has sparse kernels for. Standard library only."""

from __future__ import annotations

import platform
import sys

PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64", "windows-x86_64")

_SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
_SPELLINGS = {"linux-arm64": "linux-aarch64", "windows-amd64": "windows-x86_64"}


def platform_name() -> str:
    """Return the name of this machine's platform, ``SYSTEM-PROCESSOR``, among PLATFORMS or not."""
    name = f"{_SYSTEMS.get(sys.platform, sys.platform)}-{platform.machine().lower()}"
    narrow = "" if sys.maxsize > 2**32 else "-32bit"
    return _SPELLINGS.get(name, name) + narrow
