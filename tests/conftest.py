"""What holds for all tests: threads, examples, and how exports are made.

A process computes with one thread, since the tests run in as many processes as there are cores
(pyproject.toml) and start others: with a thread a core each they would wait for one another.
Libraries read that when they are imported. Property-based tests take the same examples each time.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

from wfpipe.tests.translations import keep_translations

settings.register_profile("fixed", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("fixed")


@pytest.fixture(scope="session", autouse=True)
def _exports() -> None:
    keep_translations()
