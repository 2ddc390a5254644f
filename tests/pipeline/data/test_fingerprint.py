from __future__ import annotations

import numpy as np
import pytest

from wfpipe.pipeline.data.fingerprint import fingerprint
from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.recipe.data import DataSettings
from wfpipe.support.progress import Silent


def of(tmp_path, *, mean: float = 0.0, pixel: tuple[int, int] | None = None, label: int = 0) -> str:
    images = np.arange(200 * 16, dtype=np.uint32).reshape(200, 4, 4).astype(np.uint8)
    labels = np.arange(200) % 10
    if pixel is not None:
        images[pixel] += 1
    labels[7] = label
    path = tmp_path / "data.npz"
    np.savez(path, x_train=images, y_train=np.arange(200) % 10, x_test=images, y_test=labels)
    settings = DataSettings(source=str(path), mean=[mean])
    return fingerprint(open_data(settings, seed=0, reporter=Silent()).test)


def test_the_same_split_has_the_same_fingerprint_whatever_the_normalisation(tmp_path):
    assert of(tmp_path) == of(tmp_path, mean=0.5)
    assert len(of(tmp_path)) == 64


@pytest.mark.parametrize("change", [{"label": 3}, {"pixel": (0, 2)}, {"pixel": (199, 0)}])
def test_other_labels_or_samples_have_another(tmp_path, change):
    assert of(tmp_path, **change) != of(tmp_path)
