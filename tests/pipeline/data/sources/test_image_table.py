from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wfpipe.pipeline.data.source import Data
from wfpipe.support.errors import InputError

OpenData = Callable[..., Data]


def write(folder: Path, table: str, *, images: int = 3, test: str = "test") -> Path:
    """Both splits with one table, and images of their own shade."""
    for part in ("train", test):
        (folder / part / "deep").mkdir(parents=True)
        (folder / part / "metadata.csv").write_text(table, encoding="utf-8-sig")
        for number in range(images):
            pixels = np.full((4, 3), 50 * number, np.uint8)
            Image.fromarray(pixels).save(folder / part / "deep" / f"{number}.png")
    return folder


ROWS = "height,file_name\n0.5,deep/2.png\n\n-1,deep/0.png\n"


def test_numbers_go_with_the_images_that_the_table_names(
    open_with: OpenData, tmp_path: Path
) -> None:
    data = open_with(write(tmp_path, ROWS, test="val"), task="regression")
    ((inputs, targets),) = data.test_batches(batch=2)
    assert targets.tolist() == [0.5, -1]
    assert torch.equal(inputs[:, 0, 0, 0], torch.tensor([100, 0]) / 255)
    assert (data.classes, data.class_names) == (1, None)


def test_labels_have_a_column_each_and_bad_images_can_be_left_out(
    open_with: OpenData, tmp_path: Path
) -> None:
    table = "file_name,cat,dog\ndeep/0.png,1,0\ndeep/1.png,0,1\ndeep/9.png,0,0\n"
    folder = write(tmp_path, table)
    with pytest.raises(InputError, match=r"cannot read image .*9.png.*--skip-bad-images"):
        open_with(folder, task="multilabel")
    data = open_with(folder, task="multilabel", skip_bad_images=True)
    assert data.train.targets.tolist() == [[1, 0], [0, 1]]
    assert data.classes == 2


def test_two_classes_are_the_no_and_the_yes_of_one_label(
    make_folder: Callable[..., Path], open_with: OpenData
) -> None:
    data = open_with(make_folder(classes=("cat", "dog")), task="multilabel")
    assert sorted(data.test.targets.tolist()) == [0.0] * 3 + [1.0] * 3
    assert (data.classes, data.class_names) == (1, None)
    with pytest.raises(InputError, match=r"class for each sample.* folder of images with metadata"):
        open_with(make_folder(classes=("a", "b", "c")), task="multilabel")


def test_one_class_alone_is_the_no_of_one_label(
    make_folder: Callable[..., Path], open_with: OpenData
) -> None:
    assert open_with(make_folder(classes=("cat",)), task="multilabel").classes == 1


@pytest.mark.parametrize(
    ("task", "table", "cause"),
    [
        ("regression", "name,y\na.png,1\n", "one column 'file_name' and one for each target"),
        ("regression", "file_name\na.png\n", "it has file_name"),
        ("regression", "file_name,y\na.png,high\n", "line 2 of .* must hold numbers, got "),
        ("regression", "file_name,y\na.png\n", "line 2 of .* has 1 columns, the header has 2"),
        ("regression", "file_name,y\na.png,nan\n", "finite numbers of float32"),
        ("multilabel", "file_name,y\na.png,2\n", "0 or 1 for each label, got 2"),
        ("regression", "", "one column 'file_name' and one for each target, it has none"),
        ("regression", "file_name,y\n", "has no samples in its train split"),
        ("regression", "file_name,y\n../a.png,1\n", "must name a file below .* got '../a.png'"),
        ("regression", "file_name,y\n/a.png,1\n", "must name a file below"),
        ("regression", "file_name,y\n,1\n", "line 2 of .* must name a file below"),
        ("segmentation", "file_name,y\na.png,1\n", "for task segmentation pass FILE.npz"),
    ],
)
def test_tables_that_do_not_fit_are_named_in_one_line(
    open_with: OpenData, tmp_path: Path, task: str, table: str, cause: Any
) -> None:
    with pytest.raises(InputError, match=cause) as refused:
        open_with(write(tmp_path, table), task=task)
    assert "\n" not in str(refused.value)
