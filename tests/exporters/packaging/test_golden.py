from __future__ import annotations

import numpy as np
import pytest
import torch

from wfpipe.exporters.documents.preprocessing import Preprocessing
from wfpipe.exporters.packaging.golden import FREE_BYTES, prepared_inputs, stored_inputs
from wfpipe.support.errors import InputError

LARGE = 10**9
RGB = Preprocessing(
    kind="image", shape=(3, 6, 5), mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)
)


def pixels(count: int = 4, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, channels, 6, 5), np.uint8)


@pytest.mark.parametrize("mean", [(0.0,), (0.1307,), (0.5,)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_stored_as_such_and_come_back_bit_for_bit(
    channels: int, mean: tuple[float, ...]
) -> None:
    how = Preprocessing(kind="image", shape=(channels, 6, 5), mean=mean, std=(0.3081,))
    images = pixels(channels=channels)
    inputs = how.prepare(torch.from_numpy(images)).numpy()
    stored = stored_inputs([inputs], how, LARGE)[0]
    np.testing.assert_array_equal(stored, np.moveaxis(images, 1, 3))
    np.testing.assert_array_equal(prepared_inputs(stored, how, "golden"), inputs)


def test_every_pixel_value_comes_back_in_each_channel() -> None:
    how = RGB.model_copy(update={"shape": (3, 16, 16)})
    images = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (1, 3, 16, 16))
    inputs = how.prepare(torch.from_numpy(images.copy())).numpy()
    assert stored_inputs([inputs], how, LARGE)[0].dtype == np.uint8


@pytest.mark.parametrize("how", [None, RGB, RGB.model_copy(update={"kind": "features"})])
def test_what_is_no_image_is_stored_as_it_came(how: Preprocessing | None) -> None:
    inputs = np.random.default_rng(1).normal(size=(2, 3, 6, 5)).astype(np.float32)
    stored = stored_inputs([inputs], how, LARGE)[0]
    np.testing.assert_array_equal(stored, inputs)
    assert prepared_inputs(stored, how, "golden") is stored


def test_one_value_between_two_pixels_is_enough() -> None:
    inputs = RGB.prepare(torch.from_numpy(pixels())).numpy()
    inputs[1, 2, 3, 4] += 1e-3
    assert stored_inputs([inputs], RGB, LARGE)[0].dtype == np.float32


def test_as_many_are_stored_as_are_small_beside_the_model_and_one_at_least() -> None:
    inputs = np.random.default_rng(1).normal(size=(4, 600)).astype(np.float32)
    assert inputs[0].nbytes > FREE_BYTES
    assert len(stored_inputs([inputs], None, 1)[0]) == 1
    assert len(stored_inputs([inputs], None, 50 * 5000)[0]) == 2
    assert len(stored_inputs([inputs], None, LARGE)[0]) == 4
    assert len(stored_inputs([inputs[:, :10]], None, 1)[0]) == 4


@pytest.mark.parametrize(
    ("stored", "how"),
    [
        (np.zeros((1, 6, 5, 3), np.uint8), None),
        (np.zeros((1, 6, 5), np.uint8), RGB),
        (np.zeros((1, 5, 6, 3), np.uint8), RGB),
        (np.zeros((1, 6, 5, 3), np.int64), RGB),
        (np.zeros((1, 6, 5, 3), np.uint8), RGB.model_copy(update={"kind": "features"})),
    ],
)
def test_stored_arrays_that_do_not_fit_are_refused(
    stored: np.ndarray, how: Preprocessing | None
) -> None:
    with pytest.raises(InputError, match="golden"):
        prepared_inputs(stored, how, "golden")
