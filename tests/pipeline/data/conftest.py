from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.recipe.data import DataSettings
from wfpipe.support.progress import Silent, Task


class Recorder(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.details: list[str] = []
        self.warnings: list[str] = []
        self.tasks: list[tuple[str, int, str]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def detail(self, text: str) -> None:
        self.details.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def task(self, what: str, total: int, unit: str) -> AbstractContextManager[Task]:
        self.tasks.append((what, total, unit))
        return super().task(what, total, unit)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


MakeFolder = Callable[..., Path]


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Write an image folder; every image has pixels of its own."""

    def make(
        *,
        classes: tuple[str, ...] = ("cat", "dog"),
        splits: tuple[str, ...] = ("train", "test"),
        images: int = 3,
        mode: str = "RGB",
        size: tuple[int, int] = (6, 5),
        suffix: str = ".png",
    ) -> Path:
        random = np.random.default_rng(0)
        root = tmp_path / "images"
        shape = size if mode == "L" else (*size, len(mode))
        for split in splits:
            for name in classes:
                (root / split / name).mkdir(parents=True)
                for number in range(images):
                    pixels = random.integers(0, 256, shape, dtype=np.uint8)
                    Image.fromarray(pixels).save(root / split / name / f"{number}{suffix}")
        return root

    return make


OpenData = Callable[..., Data]


@pytest.fixture
def open_with(recorder: Recorder) -> OpenData:
    """Open data with settings given by keyword."""

    def open_it(
        source: object, *, seed: int = 0, task: str = "classification", **settings: object
    ) -> Data:
        values = DataSettings.model_validate({"source": str(source), **settings})
        return open_data(values, task=task, seed=seed, reporter=recorder)

    return open_it
