from __future__ import annotations

import argparse
import collections
import datetime
import io
import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wfpipe.models.pickled import read_pickled
from wfpipe.tests.refusal import refusal_of

WEIGHT = torch.arange(3.0)


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize(
    "beside",
    [
        np.float64(71.3),
        np.arange(3.0),
        np.array(["a", "b"]),
        np.dtype("int8"),
        np.bool_(True),
        argparse.Namespace(lr=0.1, path=Path("x"), nested=argparse.Namespace(a=np.int64(1))),
        types.SimpleNamespace(a=1),
        datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        collections.defaultdict(list, a=[1]),
        {int: slice(1, 2), "range": range(3)},
        Path("here"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_training_state_that_is_plain_data_is_passed_over(beside: Any, new_format: bool) -> None:
    content = saved({"weight": WEIGHT, "beside": beside}, _use_new_zipfile_serialization=new_format)
    assert torch.equal(read_pickled("file", content)["weight"], WEIGHT)


def test_names_of_the_first_numpy_are_known() -> None:
    state = {"weight": WEIGHT, "best": np.float64(1.0)}
    content = saved(state, _use_new_zipfile_serialization=False)
    old = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    assert old != content
    assert torch.equal(read_pickled("file", old)["weight"], WEIGHT)


class Call:
    """Unpickles to a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def test_a_stand_in_hides_no_call_of_anything_else(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    hidden = argparse.Namespace(inner=np.array([Call(os.mkdir, str(proof))], dtype=object))
    message = refusal_of(lambda: read_pickled("file", saved({"weight": WEIGHT, "x": hidden})))
    assert "would run code when loaded" in message
    assert "mkdir" in message
    assert not proof.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, open, type])
def test_functions_that_run_code_are_refused(function: Any) -> None:
    content = saved({"weight": WEIGHT, "x": Call(function, "1")})
    assert function.__name__ in refusal_of(lambda: read_pickled("file", content))


def test_what_is_passed_over_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": module.__name__})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    content = saved({"weight": WEIGHT, "cfg": module.DictConfig()})
    monkeypatch.delitem(sys.modules, module.__name__)
    assert torch.equal(read_pickled("file", content)["weight"], WEIGHT)
    assert module.__name__ not in sys.modules


def test_reading_leaves_the_list_of_safe_names_as_it_was() -> None:
    before = set(torch.serialization.get_safe_globals())
    read_pickled("file", saved({"weight": WEIGHT, "best": np.float64(1.0)}))
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(saved(np.float64(1.0))), weights_only=True)
