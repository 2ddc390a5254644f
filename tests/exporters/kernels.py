"""Tests that need the installed library of sparse kernels."""

from __future__ import annotations

import pytest

from wfpipe.exporters.measuring.kernels_library import library_path, why_missing

needs_kernels = pytest.mark.skipif(
    library_path() is None, reason=why_missing() if library_path() is None else ""
)
