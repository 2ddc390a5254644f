"""Samples of any structure from a factory: batches, their order, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from wfpipe.pipeline.data.fingerprint import fingerprint
from wfpipe.pipeline.data.source import Data
from wfpipe.support.errors import InputError

OpenData = Callable[..., Data]
Write = Callable[[str], str]

COMMON = """
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    x, ids = torch.arange(24.0).reshape(8, 3), torch.arange(16).reshape(8, 2)
    y = torch.tensor([0, 1] * 4)
    def both(items):
        return items, items[:4]
"""


@pytest.fixture
def build(tmp_path: Path) -> Write:
    def write(body: str) -> str:
        path = tmp_path / "mydata.py"
        path.write_text(dedent(COMMON) + f"\ndef build():\n    return {body}\n")
        return f"{path}:build"

    return write


def first(data: Data):
    return next(iter(data.test_batches(batch=3)))


def test_tuples_and_integers_come_as_they_are(open_with: OpenData, build: Write) -> None:
    data = open_with(build("both([((a, b), int(c)) for a, b, c in zip(x, ids, y)])"))
    (a, b), targets = first(data)
    assert (a.dtype, b.dtype, targets.tolist()) == (torch.float32, torch.int64, [0, 1, 0])
    assert (data.single, data.classes, data.stated) == (False, 2, None)
    tokens, _ = first(open_with(build("both(list(zip(ids, y)))")))
    assert tokens.dtype == torch.int64


def test_mapping_with_labels_and_a_loaders_own_collate(open_with: OpenData, build: Write) -> None:
    body = (
        "[DataLoader(list(zip(x, y)), 2, collate_fn=lambda s: "
        "{'x': torch.stack([a for a, _ in s]) + 1, 'labels': torch.stack([b for _, b in s])})] * 2"
    )
    inputs, targets = first(open_with(build(body)))
    assert inputs["x"][0].tolist() == [1.0, 2.0, 3.0]
    assert targets.tolist() == [0, 1, 0]


def test_order_and_subsets_are_repeatable(open_with: OpenData, build: Write) -> None:
    spec = build("both([({'x': a}, int(c)) for a, c in zip(x, y)])")
    one, other = (open_with(spec, limit_train=6) for _ in range(2))
    batches = [list(data.training_batches(epoch=1, batch=2)) for data in (one, other)]
    assert len(one.train) == 6
    for mine, theirs in zip(*batches, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert fingerprint(one.test) == fingerprint(other.test)
    assert fingerprint(one.test) != fingerprint(one.train)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("both([({'x': a}, {'b': 1}, 2) for a in x])", r"must be \(input"),
        ("both([{'x': a} for a in x])", r"mapping with x: targets must be called one of labels"),
        ("both([((a, a[:i % 2 + 1]), 0) for i, a in enumerate(x)])", "cannot be put together"),
        ("both([((a / 0, a), 0) for a in x])", "holds NaN or infinite values"),
        ("[DataLoader([(a, 0) for a in x], collate_fn=lambda s: (s[0][0], s[0][0]))] * 2",
         "samples must come first"),
    ],
)  # fmt: skip
def test_batches_that_cannot_be_used_are_refused(
    body: str, cause: str, open_with: OpenData, build: Write
) -> None:
    with pytest.raises(InputError, match=cause):
        first(open_with(build(body)))


def test_what_is_for_images_is_refused(open_with: OpenData, build: Write) -> None:
    with pytest.raises(InputError, match=r"data.mean is for images with a class each"):
        open_with(build("both(list(zip(ids, y)))"), mean=[0.5])
