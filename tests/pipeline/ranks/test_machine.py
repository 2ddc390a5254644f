from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.recipe.data import DataSettings
from wfpipe.support import one_copy
from wfpipe.support.progress import Silent
from wfpipe.tests.pipeline.ranks.together import together

pytestmark = pytest.mark.skipif(not one_copy.POSSIBLE, reason="memory files are for Linux")


def opened(ranks: Any, folder: str, workers: int) -> tuple[list[int], list[float], list[str]]:
    """Return the memory files that samples lie in, sums of batches, and names of samples."""
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined] # else no workers
    settings = DataSettings(source=folder, size=[8], workers=workers, augment=["resized-crop"])
    data = open_data(settings, seed=0, reporter=Silent(), ranks=ranks)
    places = [
        one_copy._place(memoryview(array).cast("B"))
        for array in (data.train.reader.paths._text, data.train.targets.numpy(), data.test.cache)
    ]
    files = [os.stat(place[0].file).st_ino for place in places if place is not None]
    batches = list(data.training_batches(epoch=0, batch=300))
    return files, [float(x.sum()) for x, _ in batches], [*data.train.reader.paths][:2]


def test_ranks_of_a_machine_and_their_workers_read_one_index(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            Image.fromarray(np.full((8, 8, 3), ord(label), np.uint8)).save(tmp_path / "i.png")
            for number in range(300 if part == "train" else 20):
                os.link(tmp_path / "i.png", tmp_path / part / label / f"{number:03}.png")
            (tmp_path / "i.png").unlink()
    (files, sums, names), other = together(opened, str(tmp_path), 1)
    assert (files, sums, names) == other
    assert len(files) == 3
    assert names[1].endswith("train/a/001.png")
    assert sums == opened(None, str(tmp_path), 0)[1]
