"""One thread for each process, and the same examples of property-based tests each time."""

from __future__ import annotations

import os

# The tests run in as many processes as there are cores (pyproject.toml), and start others: with a
# thread a core each they would wait for one another. Libraries read this when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("fixed", derandomize=True, deadline=None)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("fixed")
