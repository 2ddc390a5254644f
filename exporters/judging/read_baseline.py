"""Find out what kind of baseline a file is."""

from __future__ import annotations

from pathlib import Path

from ...support.files import read_bytes
from ..documents.parsing import schema_of
from ..documents.profile import PROFILE_SCHEMA
from ..documents.report import MAX_REPORT_BYTES
from .baseline import Baseline
from .profile_baseline import read_profile_baseline
from .report_baseline import read_report_baseline


def read_baseline(path: Path) -> Baseline:
    """Read what was measured of the last accepted model: a report, or a profile.

    Raises:
        InputError: when it is neither, or the model in the report failed its gates.
    """
    raw = read_bytes(path, "report", limit=MAX_REPORT_BYTES)
    is_profile = schema_of(raw) == PROFILE_SCHEMA
    return read_profile_baseline(path) if is_profile else read_report_baseline(path)
