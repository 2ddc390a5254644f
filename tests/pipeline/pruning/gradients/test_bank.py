from __future__ import annotations

import gc
import os
import resource
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wfpipe.pipeline.pruning.gradients.bank import (
    Bank,
    DiskBank,
    RecomputedBank,
    RowSink,
    TensorBank,
)

CPU = torch.device("cpu")
KINDS = ["tensor", "disk", "recomputed"]
TYPES = [torch.float32, torch.bfloat16]


def gradients(rows: int, total: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, total, generator=torch.Generator().manual_seed(seed))


def fill(sink: RowSink, G: Tensor, widths: list[int]) -> None:
    for row, values in enumerate(G):
        sink.write(row, [part.view(1, -1) for part in values.split(widths)])


def bank_of(kind: str, G: Tensor, widths: list[int], dtype: torch.dtype, folder: Path) -> Bank:
    if kind == "recomputed":
        parts = G.split(widths, dim=1)
        return RecomputedBank(
            len(G),
            widths,
            lambda group, sink: fill(sink, parts[group], [widths[group]]),
            dtype,
            CPU,
        )
    bank: TensorBank | DiskBank
    if kind == "disk":
        bank = DiskBank(folder, len(G), G.shape[1], dtype, CPU)
    else:
        bank = TensorBank(torch.empty(G.shape, dtype=dtype))
    fill(bank, G, widths)
    return bank


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 5),
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_parts_are_the_columns_that_were_written(kind, dtype, rows, widths, cuts, tmp_path_factory):
    G = gradients(rows, sum(widths))
    bank = bank_of(kind, G, widths, dtype, tmp_path_factory.getbasetemp())
    start, stop = sorted(round(cut * bank.total) for cut in cuts)
    assert (bank.rows, bank.total, bank.device) == (*G.shape, CPU)
    for first, last in [(start, stop), (0, bank.total), (start, stop)]:
        part = bank.part(first, last)
        assert part.dtype == torch.float32
        assert torch.equal(part, G[:, first:last].to(dtype).float())


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_rounds_to_the_nearest(kind, tmp_path):
    # 8 bits of precision: the neighbours of 1 are 1 - 2^-8 and 1 + 2^-7; ties go to even
    G = torch.tensor([[1 + 2**-9, 1 + 3 * 2**-9, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 3 * 2**-9]])
    rounded = [1.0, 1 + 2**-7, 1.0, 1 + 2**-6, -1 - 2**-7]
    part = bank_of(kind, G, [5], torch.bfloat16, tmp_path).part(0, 5)
    assert part.tolist() == [rounded]


def test_a_part_of_a_float32_tensor_is_a_view():
    G = gradients(3, 8)
    assert TensorBank(G).part(2, 5).data_ptr() == G[:, 2:].data_ptr()


@pytest.mark.parametrize("kind", KINDS)
def test_columns_outside_the_bank_are_refused(kind, tmp_path):
    bank = bank_of(kind, gradients(2, 6), [6], torch.float32, tmp_path)
    for start, stop in [(-1, 2), (0, 7), (4, 3)]:
        with pytest.raises(ValueError, match=f"columns {start} to {stop} are not in a bank of 6"):
            bank.part(start, stop)


@pytest.mark.parametrize("kind", ["tensor", "disk"])
def test_rows_that_do_not_fit_are_refused(kind, tmp_path):
    G = gradients(2, 6)
    bank = bank_of(kind, G, [6], torch.float32, tmp_path)
    assert isinstance(bank, TensorBank | DiskBank)
    with pytest.raises(ValueError, match="row 2 is not in a bank of 2 rows"):
        bank.write(2, [G[0]])
    with pytest.raises(ValueError, match="a row of the bank has 6 values, got 5"):
        bank.write(0, [G[0, :5]])
    assert torch.equal(bank.part(0, 6), G)


def test_a_bank_must_be_a_matrix():
    with pytest.raises(ValueError, match=r"must be a matrix \(N, d\), got shape \(3,\)"):
        TensorBank(torch.ones(3))


def test_values_that_are_not_contiguous_are_laid_out_by_index(tmp_path):
    value = gradients(4, 6).T
    for bank in (
        TensorBank(torch.empty(1, 24)),
        DiskBank(tmp_path, 1, 24, torch.float32, CPU),
    ):
        bank.write(0, [value])
        assert torch.equal(bank.part(0, 24)[0], value.reshape(-1))


def test_the_file_takes_its_space_at_once_and_has_no_name(tmp_path):
    bank = DiskBank(tmp_path, 3, 100_000, torch.bfloat16, CPU)
    assert os.fstat(bank._file.fileno()).st_blocks * 512 >= 600_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_bank_cannot_be_read(kind, tmp_path):
    bank = bank_of(kind, gradients(3, 5), [5], torch.float32, tmp_path)
    assert isinstance(bank, TensorBank | DiskBank | RecomputedBank)
    with bank:
        bank.part(0, 1)
    bank.close()
    with pytest.raises(ValueError, match="the gradient bank is closed"):
        bank.part(0, 1)


@pytest.mark.parametrize("kind", ["tensor", "recomputed"])
def test_a_closed_bank_takes_no_memory_though_it_is_still_named(kind, tmp_path):
    bank = bank_of(kind, gradients(3, 5), [5], torch.float32, tmp_path)
    assert isinstance(bank, TensorBank | RecomputedBank)
    storage = weakref.ref(bank.part(0, 5)._base)
    bank.close()
    assert storage() is None


def test_the_file_goes_with_the_block_that_used_it_after_an_exception(tmp_path):
    bank = DiskBank(tmp_path, 1, 4, torch.float32, CPU)

    def use() -> None:
        with bank:
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        use()
    assert bank._file.closed


def test_the_file_goes_with_a_bank_that_is_dropped(tmp_path):
    bank = DiskBank(tmp_path, 1, 4, torch.float32, CPU)
    file = bank._file
    del bank
    gc.collect()
    assert file.closed


def test_a_directory_that_is_not_there_or_has_no_space_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        DiskBank(tmp_path / "missing", 1, 4, torch.float32, CPU)
    with pytest.raises(OSError, match=f"no room for a gradient bank of {2**62} bytes"):
        DiskBank(tmp_path, 2**30, 2**30, torch.float32, CPU)


def test_reading_a_bank_on_disk_keeps_no_more_than_the_part_in_memory(tmp_path):
    bank = DiskBank(tmp_path, 16, 1 << 20, torch.float32, CPU)  # 64 MiB
    row = torch.ones(1 << 20)
    for number in range(16):
        bank.write(number, [row])
    bank.part(0, 1 << 15)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 1 << 20, 1 << 15):
        assert float(bank.part(start, start + (1 << 15)).sum()) == 16 * (1 << 15)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024  # KiB; a part takes 2 MiB


def test_a_recomputed_bank_collects_a_group_when_it_is_read_and_holds_it():
    G = gradients(2, 6)
    calls: list[int] = []

    def collect(group: int, sink: RowSink) -> None:
        calls.append(group)
        fill(sink, G[:, 2 * group : 2 * group + 2], [2])

    bank = RecomputedBank(2, [2, 2, 2], collect, torch.float32, CPU)
    assert calls == []
    bank.part(0, 1)
    bank.part(1, 2)
    assert calls == [0]
    bank.part(2, 3)
    bank.part(0, 1)
    assert calls == [0, 1, 0]
    assert bank.passes == 3
    assert torch.equal(bank.part(1, 6), G[:, 1:6])


def test_groups_of_a_recomputed_bank_share_one_memory():
    bank = RecomputedBank(2, [3, 5], lambda group, sink: None, torch.float32, CPU)
    assert bank.part(0, 3).data_ptr() == bank.part(3, 8).data_ptr()
    memory = bank.part(0, 3)._base
    assert memory is not None
    assert memory.numel() == 2 * 5


def test_a_group_whose_collection_failed_is_collected_again():
    G, fail = gradients(1, 4), [True]

    def collect(group: int, sink: RowSink) -> None:
        if fail.pop():
            raise FloatingPointError("the loss is nan")
        fill(sink, G, [4])

    fail.insert(0, False)
    bank = RecomputedBank(1, [4], collect, torch.float32, CPU)
    with pytest.raises(FloatingPointError):
        bank.part(0, 4)
    assert torch.equal(bank.part(0, 4), G)
