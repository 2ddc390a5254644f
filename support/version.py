"""The version of wfpipe, as files that it writes state it."""

from __future__ import annotations

__version__ = "0.1.0"
