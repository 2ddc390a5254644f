from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.data.preparation.augment import (
    ATTEMPTS,
    Augmentation,
    crop,
    flip,
    resized_crop_box,
)


def images(count: int, height: int = 5, width: int = 7) -> np.ndarray:
    shape = (count, 3, height, width)
    return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


@given(st.integers(0, 9), st.data())
def test_crop_equals_a_slice_of_the_padded_image(padding: int, data: st.DataObject) -> None:
    offset = st.integers(0, 2 * padding)
    offsets = data.draw(st.lists(st.tuples(offset, offset), min_size=3, max_size=3))
    cropped = crop(images(3), offsets, padding)
    for image, result, (row, column) in zip(images(3), cropped, offsets, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        assert np.array_equal(result, padded[:, row : row + 5, column : column + 7])


def test_flip_mirrors_the_chosen_images_only() -> None:
    flipped = flip(images(3), np.array([True, False, True]))
    assert np.array_equal(flipped[1], images(3)[1])
    for which in (0, 2):
        assert np.array_equal(flipped[which], images(3)[which][:, :, ::-1])


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=ATTEMPTS * 4, max_size=ATTEMPTS * 4),
)
def test_resized_crop_box_lies_in_the_image(height: int, width: int, draws: list[float]) -> None:
    box = resized_crop_box(height, width, np.array(draws).reshape(ATTEMPTS, 4))
    left, top, right, bottom = box
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def slow_box(height: int, width: int, draws: np.ndarray) -> tuple[int, int, int, int] | None:
    for area_draw, ratio_draw, row, column in draws.tolist():
        area = (0.08 + 0.92 * area_draw) * height * width
        ratio = np.exp(np.log(3 / 4) + ratio_draw * (np.log(4 / 3) - np.log(3 / 4)))
        wide, high = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            top, left = int(row * (height - high + 1)), int(column * (width - wide + 1))
            return left, top, left + wide, top + high
    return None


def test_resized_crop_box_is_the_first_attempt_that_fits() -> None:
    draws = np.random.default_rng(0).random((200, ATTEMPTS, 4))
    for draw in draws:
        assert resized_crop_box(60, 80, draw) == slow_box(60, 80, draw)


@pytest.mark.parametrize(("height", "width"), [(100, 10), (10, 100)])
def test_resized_crop_box_of_a_narrow_image_is_its_centre_within_the_ratios(
    height: int, width: int
) -> None:
    whole_area = np.zeros((ATTEMPTS, 4))
    whole_area[:, 0] = 0.999
    left, top, right, bottom = resized_crop_box(height, width, whole_area)
    assert 3 / 4 - 0.05 <= (right - left) / (bottom - top) <= 4 / 3 + 0.05
    assert abs((left + right) - width) <= 1
    assert abs((top + bottom) - height) <= 1


def test_resized_crop_areas_are_spread_over_their_range() -> None:
    draws = np.random.default_rng(1).random((4000, ATTEMPTS, 4))
    boxes = np.array([resized_crop_box(1000, 1000, draw) for draw in draws])
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 1e6
    assert shares.min() < 0.1
    assert 0.9 < shares.max() <= 1


def test_augmentation_of_a_sample_does_not_depend_on_its_batch() -> None:
    augmentation = Augmentation(frozenset({"crop", "flip"}), 2)
    whole = augmentation.apply(images(8), 5, np.arange(8))
    for position in range(8):
        alone = augmentation.apply(
            images(8)[position : position + 1], 5, np.arange(position, position + 1)
        )
        assert np.array_equal(alone[0], whole[position])


def test_augmentation_crops_at_every_offset_and_flips_half() -> None:
    image = np.zeros((2000, 1, 3, 3), np.uint8)
    image[:, 0, 1, 1], image[:, 0, 1, 0] = 255, 100
    result = Augmentation(frozenset({"crop", "flip"}), 1).apply(image, 7, np.arange(2000))
    rows, columns = np.nonzero(result[:, 0] == 255)[1:]
    # Nine offsets, each with probability 1/9: 2,000 draws have the standard deviation 14.
    counts = np.bincount(rows * 3 + columns, minlength=9)
    assert np.all(np.abs(counts - 2000 / 9) < 6 * 14)
    flipped = (result[:, 0, :, 2] == 100).any(axis=1) | (
        (result[:, 0, :, 1] == 100) & (result[:, 0, :, 0] == 255)
    ).any(axis=1)
    seen = (result[:, 0] == 100).any(axis=(1, 2))
    assert abs(flipped[seen].mean() - 0.5) < 6 * 0.5 / np.sqrt(seen.sum())


def test_augmentation_leaves_the_images_given_to_it_alone() -> None:
    given_images = images(4)
    Augmentation(frozenset({"crop", "flip"}), 2).apply(given_images, 5, np.arange(4))
    assert np.array_equal(given_images, images(4))
