from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wfpipe.pipeline.data.sources import image_folder
from wfpipe.pipeline.data.sources.image_folder import ImageFiles
from wfpipe.pipeline.data.sources.reading import BadImageError, Source
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent

MakeFolder = Callable[..., Path]


def open_folder(root: Path) -> Source:
    return image_folder.open_folder(root, Silent())


def huge_png(width: int, height: int) -> bytes:
    """A PNG file of few bytes that declares many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_class_names_are_sorted_and_give_the_class_indices(make_folder: MakeFolder) -> None:
    source = open_folder(make_folder(classes=("zebra", "ant", "Bee")))
    assert source.class_names == ("Bee", "ant", "zebra")
    assert source.train.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert source.train.targets.dtype == np.int64
    assert "ant" in source.train.reader.name(3)


def test_val_is_the_test_split_where_there_is_no_test(make_folder: MakeFolder) -> None:
    source = open_folder(make_folder(splits=("train", "val")))
    assert "val" in source.test.reader.name(0)


def test_test_comes_before_val(make_folder: MakeFolder) -> None:
    source = open_folder(make_folder(splits=("train", "val", "test")))
    assert f"{os.sep}test{os.sep}" in source.test.reader.name(0)


def test_hidden_files_and_other_files_are_passed_over(
    make_folder: MakeFolder, recorder: Any
) -> None:
    root = make_folder()
    image = (root / "train" / "cat" / "0.png").read_bytes()
    (root / "train" / "cat" / ".hidden.png").write_bytes(image)
    (root / "train" / "cat" / "notes.txt").write_text("hello")
    (root / "train" / "cat" / "nested.png").mkdir()
    (root / "train" / ".cache").mkdir()
    (root / "train" / "README.png").write_bytes(image)
    source = image_folder.open_folder(root, recorder)
    assert len(source.train.reader) == 6
    assert source.class_names == ("cat", "dog")
    (warning,) = recorder.warnings
    assert warning.endswith("that are no images are passed over: 1 .txt")


def test_images_in_folders_below_a_class_are_of_the_class(make_folder: MakeFolder) -> None:
    root = make_folder()
    below = root / "train" / "cat" / "day" / "1"
    below.mkdir(parents=True)
    (root / "train" / "cat" / "0.png").rename(below / "0.png")
    (below / "round").symlink_to(root / "train" / "cat", target_is_directory=True)
    source = open_folder(root)
    assert source.train.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert str(Path("day", "1", "0.png")) in source.train.reader.name(2)


def test_links_to_files_are_read(make_folder: MakeFolder) -> None:
    root = make_folder()
    (root / "train" / "cat" / "link.PNG").symlink_to(root / "train" / "dog" / "0.png")
    assert len(open_folder(root).train.reader) == 7


def test_image_is_read_with_its_pixels(make_folder: MakeFolder) -> None:
    root = make_folder(mode="L")
    reader = open_folder(root).train.reader
    wanted = np.asarray(Image.open(root / "train" / "cat" / "0.png"))
    assert np.array_equal(np.asarray(reader.read(0, 0)), wanted)
    assert reader.header(0) == ("L", (6, 5))


def test_missing_split_is_named(make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match=r"must hold train and test \(or val\).*it holds train$"):
        open_folder(make_folder(splits=("train",)))


def test_folder_without_folders_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must hold train and test .*it holds no folders"):
        open_folder(tmp_path)


def test_split_without_images_is_named(make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match=r"no images in .*train.*\.jpg"):
        open_folder(make_folder(images=0))


def test_class_without_test_images_is_a_warning(make_folder: MakeFolder, recorder: Any) -> None:
    root = make_folder()
    for file in (root / "test" / "cat").iterdir():
        file.unlink()
    source = image_folder.open_folder(root, recorder)
    assert source.class_names == ("cat", "dog")
    assert source.test.targets.tolist() == [1, 1, 1]
    (warning,) = recorder.warnings
    assert "1 of 2 classes: cat;" in warning


def test_class_that_only_the_test_split_has_is_named(make_folder: MakeFolder) -> None:
    root = make_folder()
    (root / "train" / "cat").rename(root / "train" / ".cat")
    with pytest.raises(InputError, match=r"class 'cat' has no images in .*train"):
        open_folder(root)


def test_class_name_that_cannot_be_printed_is_refused(make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match="printable") as error:
        open_folder(make_folder(classes=("cat", "do\ng")))
    assert "\n" not in str(error.value)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read data folder .*nowhere"):
        open_folder(tmp_path / "nowhere")


CONTENTS = {
    "empty": b"",
    "text": b"this is no image",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\nshowpage\n",
    "bomb": huge_png(20000, 20000),
    "lesser bomb": huge_png(10000, 10000),
    "no pixels": huge_png(5, 5),
    "only a signature": b"\x89PNG\r\n\x1a\n",
    "broken bmp": b"BM" + b"\xff" * 60,
    "broken gif": b"GIF89a" + b"\xff" * 40,
    "broken tiff": b"II*\x00\x08\x00\x00\x00" + b"\xff" * 40,
    "broken jpeg": b"\xff\xd8\xff\xe0" + b"\x00" * 40,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_unreadable_image_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(BadImageError, match=r"cannot read image .*bad\.png'") as error:
        ImageFiles([str(path)]).read(0, 0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".gif", ".webp", ".tif"])
def test_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadImageError, match=r"cannot read image .*bad"):
        ImageFiles([str(path)]).read(0, 0)


def test_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match=r"gone\.png': No such file"):
        ImageFiles([str(tmp_path / "gone.png")]).header(0)
