from __future__ import annotations

from pathlib import Path

import numpy as np

from wfpipe.pipeline.data.sources import digits as module
from wfpipe.pipeline.data.sources.digits import CLASS_NAMES, load_digits


def test_digits_hold_1797_images_split_80_to_20() -> None:
    digits = load_digits()
    assert digits.train_images.shape == (1438, 8, 8)
    assert digits.test_images.shape == (359, 8, 8)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert len(digits.train_labels) == 1438
    assert len(digits.test_labels) == 359


def test_split_of_digits_is_stratified() -> None:
    digits = load_digits()
    train = np.bincount(digits.train_labels, minlength=len(CLASS_NAMES))
    test = np.bincount(digits.test_labels, minlength=len(CLASS_NAMES))
    assert np.all(np.abs(test - 0.2 * (train + test)) < 1)


def test_digits_use_the_whole_range_of_uint8_in_17_levels() -> None:
    images = np.concatenate([load_digits().train_images, load_digits().test_images])
    levels = np.round(np.arange(17) * 255 / 16).astype(np.uint8)
    assert np.array_equal(np.unique(images), levels)


def test_third_of_every_five_images_of_a_class_is_a_test_image() -> None:
    with np.load(Path(module.__file__).with_name("digits.npz")) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    digits = module.load_digits()
    for label in range(10):
        wanted = images[labels == label][2::5]
        assert np.array_equal(digits.test_images[digits.test_labels == label], wanted)
