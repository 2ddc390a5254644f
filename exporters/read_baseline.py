"""Find out what kind of baseline a file is."""

from __future__ import annotations

from pathlib import Path

from ..support.files import read_bytes
from .baseline import Baseline
from .documents import schema_of
from .profile_baseline import read_profile_baseline
from .profile_figures import PROFILE_SCHEMA
from .report import MAX_REPORT_BYTES
from .report_baseline import read_report_baseline


def read_baseline(path: Path) -> Baseline:
    """Read what was measured of the last accepted model: a report, or a profile.

    Raises:
        InputError: when it is neither, or the model in the report failed its gates.
    """
    raw = read_bytes(path, "report", limit=MAX_REPORT_BYTES)
    is_profile = schema_of(raw) == PROFILE_SCHEMA
    return read_profile_baseline(path) if is_profile else read_report_baseline(path)
