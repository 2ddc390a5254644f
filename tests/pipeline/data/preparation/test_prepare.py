from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from wfpipe.pipeline.data import source as module
from wfpipe.pipeline.data.preparation import prepare
from wfpipe.pipeline.data.source import Data
from wfpipe.support.errors import InputError

MakeFolder = Callable[..., Path]
OpenData = Callable[..., Data]


def count(batches: Iterable[tuple[Tensor, Tensor]]) -> int:
    return sum(len(targets) for _, targets in batches)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 0)


def test_limits_take_stratified_subsets_fixed_by_the_seed(open_with: OpenData) -> None:
    def indices(seed: int) -> list[list[int]]:
        data = open_with("digits", seed=seed, limit_train=100, limit_test=50)
        assert torch.bincount(data.train.targets).tolist() == [10] * 10
        assert torch.bincount(data.test.targets).tolist() == [5] * 10
        return [data.train.indices.tolist(), data.test.indices.tolist()]

    assert indices(0) == indices(0)
    assert indices(0) != indices(1)


def test_limit_above_the_number_of_samples_takes_all_and_says_so(
    open_with: OpenData, recorder: Any
) -> None:
    assert len(open_with("digits", limit_test=1000).test) == 359
    assert recorder.details == ["data.limit_test is 1000: all 359 samples are used"]


def test_cache_takes_at_most_a_quarter_of_the_free_memory(
    open_with: OpenData, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, split = make_folder(), 6 * 3 * 6 * 5
    for free, cached in ((4 * split - 4, [False, False]), (4 * split, [True, False])):
        monkeypatch.setattr(module, "available_memory", lambda free=free: free)
        data = open_with(root)
        assert [data.train.cache is not None, data.test.cache is not None] == cached
    monkeypatch.setattr(module, "available_memory", lambda: 8 * split)
    assert open_with(root).test.cache is not None


@pytest.mark.parametrize("repeated", [False, True])
def test_batches_of_gray_images_have_the_strides_of_new_tensors(
    repeated: bool, open_with: OpenData
) -> None:
    data = open_with("digits")
    data = data.repeated() if repeated else data
    assert data.train.cache is not None
    inputs, _ = next(iter(data.fisher_batches(draw=0, count=1, batch=4)))
    assert isinstance(inputs, Tensor)
    assert inputs.stride() == torch.empty(4, 3 if repeated else 1, 8, 8).stride()


def test_reading_is_reported(open_with: OpenData, make_folder: MakeFolder, recorder: Any) -> None:
    open_with(make_folder())
    assert recorder.tasks == [
        ("reading train images", 6, "image"),
        ("reading test images", 6, "image"),
    ]


def damage(root: Path, *names: str) -> None:
    for name in names:
        whole = (root / name).read_bytes()
        (root / name).write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("free", [0, 10**9])
def test_bad_images_are_left_out_when_asked_for_and_counted(
    open_with: OpenData,
    make_folder: MakeFolder,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    free: int,
) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: free)
    root = make_folder(size=(30, 30))
    damage(root, "train/cat/0.png", "train/dog/1.png")
    data = open_with(root, skip_bad_images=True)
    assert data.train.targets.tolist() == [0, 0, 1, 1]
    assert count(data.training_batches(epoch=0, batch=2)) == 4
    assert len(recorder.warnings) == 1
    assert "2 of 6 train images are left out; the first: cannot read" in recorder.warnings[0]
    assert "0.png" in recorder.warnings[0]


def test_bad_image_stops_the_opening_and_is_named(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder(size=(30, 30))
    damage(root, "train/dog/1.png")
    message = r"cannot read image '.*dog.1\.png': .*; leave such images out with --skip-bad-images"
    with pytest.raises(InputError, match=message):
        open_with(root)


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("workers", [0, 2])
def test_bad_image_that_is_not_cached_is_named_when_it_is_read(
    open_with: OpenData, make_folder: MakeFolder, workers: int
) -> None:
    root = make_folder(size=(30, 30))
    damage(root, "train/dog/1.png")
    data = open_with(root, workers=workers)
    with pytest.raises(InputError, match=r"^cannot read image '.*dog.1\.png'.*--skip-bad") as error:
        list(data.training_batches(epoch=0, batch=2))
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("no_cache")
def test_file_that_is_no_image_is_found_at_the_opening_without_a_cache(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder()
    (root / "test" / "dog" / "2.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"dog.2\.png'"):
        open_with(root)


def test_class_whose_images_are_all_bad_is_an_error(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder(size=(30, 30))
    damage(root, *(f"test/dog/{number}.png" for number in range(3)))
    with pytest.raises(InputError, match=r"no image of class 1 in test can be read.*dog.0\.png"):
        open_with(root, skip_bad_images=True)
    for number in range(3):
        (root / "train" / "cat" / f"{number}.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"no image of a class can be read"):
        open_with(root, skip_bad_images=True)


@pytest.mark.parametrize("free", [0, 10**9])
def test_images_of_different_sizes_need_a_size(
    open_with: OpenData, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: free)
    root = make_folder()
    Image.new("RGB", (7, 6)).save(root / "test" / "dog" / "1.png")
    message = r"cat.0\.png' is 6 × 5 and '.*dog.1\.png' is 6 × 7; .*--set data\.size=6,5"
    with pytest.raises(InputError, match=message):
        open_with(root)
    assert len(open_with(root, size=8).test) == 6


@pytest.mark.usefixtures("no_cache")
def test_of_a_large_split_a_part_is_checked_at_the_opening(
    open_with: OpenData,
    make_folder: MakeFolder,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "HEADERS", 2)
    root = make_folder()
    (root / "train" / "cat" / "2.png").write_bytes(b"hello")
    data = open_with(root)
    assert "2 of 6 train images are checked, the others when read" in recorder.details
    with pytest.raises(InputError, match=r"cat.2\.png'"):
        list(data.training_batches(epoch=0, batch=2))
    (root / "train" / "dog" / "2.png").write_bytes(b"hello")
    with pytest.raises(InputError, match=r"dog.2\.png'"):
        open_with(root)


def test_of_many_samples_little_is_kept_in_memory(
    open_with: OpenData, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LARGE", 11)
    monkeypatch.setattr(module, "LARGE_CACHE", 0)
    assert open_with(make_folder()).train.cache is None
