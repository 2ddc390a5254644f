"""Seeds for each purpose, derived from the one seed of the run."""

from __future__ import annotations

import hashlib


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a purpose, such as ``("epoch", 3)``.

    Every random choice of a run is seeded by what it is for, never by what was drawn before it,
    so that a run that is continued draws what an uninterrupted one would have drawn.
    """
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
