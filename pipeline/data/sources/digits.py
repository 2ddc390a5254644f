"""The embedded demo data: 1,797 handwritten digits of 8 × 8 pixels.

Data set: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository, CC BY 4.0. These are the 1,797 images of its test part; ``DIGITS.md`` beside this file
tells what was changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

CLASS_NAMES = tuple(str(digit) for digit in range(10))


class Digits(NamedTuple):
    """The digits, split: images are uint8[n, 8, 8], labels are uint8[n]."""

    train_images: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.uint8]
    test_images: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]


def load_digits() -> Digits:
    """Return the digits with their fixed split: 1,438 training and 359 test images.

    Counted within its class in the order of the file, the third of every five images is a test
    image.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    test = _rank_in_class(labels) % 5 == 2
    return Digits(images[~test], labels[~test], images[test], labels[test])


def _rank_in_class(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        ranks[members] = np.arange(members.sum())
    return ranks
