"""What holds for all tests: threads, examples, and what jobs are spared.

A process computes with one thread, since the tests run in as many processes as there are cores
(pyproject.toml) and start others: with a thread a core each they would wait for one another.
Libraries read that when they are imported. Property-based tests take the same examples each time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def _cheap_jobs() -> None:
    """Imports stand here, since the process that hands out the tests has no use for them."""
    from wfpipe.tests.cheap import make_jobs_cheap

    make_jobs_cheap()
