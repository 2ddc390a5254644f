from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.tensors.layout import Layout, Run

TENSORS = {"a": torch.arange(10.0).view(2, 5), "b": torch.arange(10.0, 17.0)}


def test_split_undoes_flatten():
    layout = Layout(TENSORS)
    split = layout.split(layout.flatten(TENSORS))
    assert list(split) == ["a", "b"]
    for name, tensor in TENSORS.items():
        assert torch.equal(split[name], tensor)


def test_channels_last_tensors_are_laid_out_by_index_not_by_memory():
    w = torch.randn(4, 3, 2, 2)
    plain, channels_last = (
        Layout({"w": v}).flatten({"w": v})
        for v in (w, w.contiguous(memory_format=torch.channels_last))
    )
    assert torch.equal(plain, channels_last)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("network", [Run(0, 1, 17)]),
        ("layer", [Run(0, 1, 10), Run(10, 1, 7)]),
        (4, [Run(0, 2, 4), Run(8, 1, 2), Run(10, 1, 4), Run(14, 1, 3)]),
        (100, [Run(0, 1, 10), Run(10, 1, 7)]),
        (1, [Run(0, 10, 1), Run(10, 7, 1)]),
    ],
)
def test_blocks_cover_the_vector_in_order_within_layers(block, expected):
    runs = Layout(TENSORS).blocks(block)
    assert runs == expected
    assert [run.stop for run in runs[:-1]] == [run.start for run in runs[1:]]
    assert runs[-1].stop == 17


def test_views_of_a_run_hold_its_blocks():
    v = torch.arange(12.0)
    assert torch.equal(Run(start=2, count=3, size=3).vectors(v)[2], v[8:11])
    assert torch.equal(Run(start=2, count=1, size=9).vectors(v), v[2:11])
    Run(start=2, count=3, size=3).vectors(v)[0, 0] = -1.0
    assert v[2] == -1.0
