from __future__ import annotations

import gc
import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from wfpipe.support.errors import InputError
from wfpipe.support.one_copy import POSSIBLE, empty, put

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="memory files are for Linux")


def files() -> int:
    gc.collect()
    return sum("memfd:wfpipe" in os.readlink(f"/proc/self/fd/{fd}") for fd in _open())


def _open() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_a_taken_object_is_equal_and_its_arrays_are_mapped_once() -> None:
    before = files()
    a, t = np.arange(100_000), torch.arange(5000.0).view(50, 100)
    thing: dict[str, Any] = {
        "a": a,
        "again": a,
        "part": a[::2],
        "t": t,
        "half": t.bfloat16(),
        "few": np.ones(3),
    }
    thing["none"] = np.empty((0, 3))
    parcel = put(thing)
    found = pickle.loads(pickle.dumps(parcel)).take()
    assert found.keys() == thing.keys()
    assert all(np.array_equal(found[key], thing[key]) for key in ("a", "part", "few", "none"))
    assert torch.equal(found["t"], t)
    assert torch.equal(found["half"], t.bfloat16())
    assert found["again"] is found["a"]
    found["a"][0] = 7  # what one writes the others do not see
    assert parcel.take()["a"][0] == 0
    again = [put(found[key])._spans[0] for key in ("a", "t")]
    assert again[0].file == again[1].file
    assert again[0].start != again[1].start
    del parcel, found, again
    assert files() == before


def test_an_array_that_was_filled_in_place_is_not_copied() -> None:
    array = empty((1000, 100), np.uint8)
    array[:] = 3
    first, second = put(array), put({"rows": array[500:]})
    assert first._spans[0].file == second._spans[0].file
    assert second.take()["rows"].sum() == 150_000
    assert empty((0, 5), np.float32).shape == (0, 5)


def test_too_little_memory_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"10,000 bytes of memory .* No space left on device"):
        empty((100, 100), np.uint8)
