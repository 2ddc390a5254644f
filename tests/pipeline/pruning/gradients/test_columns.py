from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.gradients import columns as module
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.columns import BlockGradients, chunk_width, window_bytes
from wfpipe.pipeline.pruning.tensors.layout import Run


class CountingBank(TensorBank):
    """Counts the columns that are asked for, and how many at most at a time."""

    def __init__(self, G: Tensor) -> None:
        super().__init__(G)
        self.asked, self.widest = 0, 0

    def part(self, start: int, stop: int) -> Tensor:
        self.asked += stop - start
        self.widest = max(self.widest, stop - start)
        return super().part(start, stop)


@pytest.fixture(params=[(1, 5), (3, 2), (100, 100)], ids=["narrow", "odd", "whole"])
def widths(request, monkeypatch):
    """Chunks and panels so small that every loop runs more than once."""
    width, panel = request.param
    monkeypatch.setattr(BlockGradients, "width", property(lambda self: width))
    monkeypatch.setattr(BlockGradients, "_window", lambda self: 2 * width + 1)
    monkeypatch.setattr(module, "_PANEL", {"cpu": panel})


def bank(seed: int = 0, N: int = 11, d: int = 40, zeros: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dead = torch.rand(d, generator=generator) < zeros
    return torch.randn(N, d, generator=generator).masked_fill(dead, 0.0), ~dead


RUN = Run(3, 1, 30)
BLOCKS = Run(3, 6, 5)


def blocks_of(G: Tensor, run: Run) -> Tensor:
    """The dense gradients of a run, ``Float64[count, N, size]``."""
    part = G[:, run.start : run.stop].double()
    return part.reshape(len(G), run.count, run.size).transpose(0, 1)


@pytest.mark.usefixtures("widths")
@pytest.mark.parametrize("zeros", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("run", [RUN, BLOCKS])
def test_moments_and_products_equal_dense_ones(run, zeros):
    G, _ = bank(zeros=zeros)
    g = blocks_of(G, run)
    mine = BlockGradients(TensorBank(G), run)
    select = torch.arange(30).remainder(3) > 0
    v, u = torch.randn(30), torch.randn(run.count, 11, dtype=torch.float64)
    shaped = v.view(run.count, run.size)
    if run.count == 1:
        g, u, shaped = g[0], u[0], v
    kept = g * select.view(shaped.shape).unsqueeze(-2)
    torch.testing.assert_close(mine.gram().tril(), (g @ g.mT).tril())
    torch.testing.assert_close(mine.outer(), g.mT @ g)
    torch.testing.assert_close(
        mine.gram_of(select.view(shaped.shape)).tril(), (kept @ kept.mT).tril()
    )
    torch.testing.assert_close(mine.project(shaped), (g @ shaped.double()[..., None])[..., 0])
    torch.testing.assert_close(mine.combine(u, shaped), (g.mT @ u[..., None])[..., 0] + shaped)


@pytest.mark.usefixtures("widths")
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_chunks_hold_each_wanted_column_that_is_not_zero_once(seed, share):
    G, live = bank(seed)
    select = torch.rand(30, generator=torch.Generator().manual_seed(seed)) < share
    mine, seen = BlockGradients(TensorBank(G), RUN), torch.zeros(30)
    for _ in range(2):  # the second pass remembers which columns are zero
        seen.zero_()
        for g, place in mine.chunks(select):
            assert torch.equal(g, G[:, 3:33].double()[:, place])
            seen[place] += 1
        assert torch.equal(seen, (select & live[3:33]).float())
    assert torch.equal(mine.live(), live[3:33])


@pytest.mark.usefixtures("widths")
def test_columns_are_gathered_from_anywhere_in_any_order():
    G, _ = bank()
    positions = torch.randperm(30)[:17]
    assert torch.equal(
        BlockGradients(TensorBank(G), RUN).gather(positions), G[:, 3 + positions].double()
    )


def test_the_bank_is_read_in_long_runs_and_never_whole():
    counting = CountingBank(torch.zeros(4000, 3000))
    gradients = BlockGradients(counting, Run(0, 1, 3000))
    gradients.gram()
    assert counting.asked == 3000
    assert counting.widest * 4 * 4000 <= window_bytes(4000, "cpu") < counting.total * 4 * 4000
    assert gradients.width == chunk_width(4000, "cpu") < 3000


def test_second_moments_are_kept_only_if_wanted():
    G, _ = bank()
    for keep, passes in [(True, 1), (False, 2)]:
        counting = CountingBank(G)
        mine = BlockGradients(counting, RUN, keep=keep)
        assert torch.equal(mine.gram(), mine.gram())
        assert mine.knows_gram == keep
        assert counting.asked == 30 * passes


def test_the_gram_of_pieces_is_their_sum_and_costs_no_further_pass():
    G, live = bank()
    counting = CountingBank(G)
    pieces = [BlockGradients(counting, Run(0, 1, 25)), BlockGradients(counting, Run(25, 1, 15))]
    whole = BlockGradients(counting, Run(0, 1, 40), pieces=pieces)
    torch.testing.assert_close(whole.gram().tril(), (G.double() @ G.double().T).tril())
    assert torch.equal(whole.live(), live)
    assert [piece.knows_gram for piece in pieces] == [True, True]
    assert counting.asked == 40


def test_gradients_that_are_all_zero_are_noticed():
    G, _ = bank()
    for run in (RUN, BLOCKS):
        for scale in (0.0, 1e-30):
            gradients = BlockGradients(TensorBank(scale * G), run)
            gradients.gram()
            assert gradients.all_zero == (scale == 0.0)


def test_columns_with_nan_count_as_live():
    G = torch.zeros(3, 5)
    G[2, 1] = float("nan")
    gradients = BlockGradients(TensorBank(G), Run(0, 1, 5))
    assert bool(gradients.gram().isnan().any())
    assert gradients.live().tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("run", [RUN, BLOCKS])
def test_products_in_float32_are_added_up_in_float64(run):
    G, _ = bank()
    mine = BlockGradients(TensorBank(G), run, torch.float32)
    exact = BlockGradients(TensorBank(G), run)
    assert mine.gram().dtype == mine.outer().dtype == torch.float64
    torch.testing.assert_close(mine.gram(), exact.gram(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.outer(), exact.outer(), rtol=1e-5, atol=1e-5)
    assert next(mine.chunks())[0].dtype == torch.float32
