"""Opening an image folder of 1,000,000 files: seconds, and memory at its highest.

    python benchmarks/many_files.py [FILES]

The files are links to a few pictures of 500 × 375 pixels, 1,000 classes; the folder is removed.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.recipe.data import DataSettings
from wfpipe.support.progress import Silent

CLASSES, LINKS = 1000, 30_000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        _make(Path(folder), count)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        settings = DataSettings(source=folder, size=[256], crop=[224])
        data = open_data(settings, seed=0, reporter=Silent())
        seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{len(data.train) + len(data.test)} files, {data.classes} classes: {seconds:.1f} s")
    print(f"memory at its highest: {after / 2**20:.2f} GiB, {before / 2**20:.2f} before")
    print(f"figure: {seconds:.1f}")


def _make(root: Path, count: int) -> None:
    random = np.random.default_rng(0)
    for number in range(count):
        if number % LINKS == 0:
            picture = root / f"{number}.jpg"
            Image.fromarray(random.integers(0, 256, (375, 500, 3), np.uint8)).save(picture)
        part = "test" if number % 20 == 0 else "train"
        folder = root / part / f"class{number // 20 % CLASSES:04d}"
        if number < 40 * CLASSES:
            folder.mkdir(parents=True, exist_ok=True)
        os.link(picture, folder / f"{number}.jpg")


if __name__ == "__main__":
    main()
