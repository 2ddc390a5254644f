from __future__ import annotations

import gc
import io
import json
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image

from wfpipe.pipeline.data.source import Data
from wfpipe.support.errors import InputError

OpenData = Callable[..., Data]


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(stream, "png")
    return stream.getvalue()


def write(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def shards(root: Path) -> Path:
    """Two training shards and one of tests; the value of a pixel tells the sample."""
    write(root / "train-0.tar", {"a/0.png": png(10), "a/0.cls": b"0", "a/1.cls": b"1\n",
                                 "a/1.png": png(20), "a/1.txt": b"passed over"})  # fmt: skip
    write(root / "train-1.tar", {"a/0.png": png(30), "a/0.json": json.dumps({"label": 1}).encode()})
    write(
        root / "val" / "0.tar", {"0.PNG": png(40), "0.cls": b"0", "1.png": png(50), "1.cls": b"1"}
    )
    return root


def test_samples_are_read_by_their_place_with_their_class(
    tmp_path: Path, open_with: OpenData
) -> None:
    data = open_with(f"wds:{shards(tmp_path)}")
    assert data.train.targets.tolist() == [0, 1, 1]
    ((inputs, targets),) = data.test_batches(batch=2)
    assert targets.tolist() == [0, 1]
    assert torch.equal((inputs[:, 0, 0, 0] * 255).round(), torch.tensor([40.0, 50.0]))
    read = [int(np.asarray(data.train.reader.read(i, 0))[0, 0, 0]) for i in (2, 0, 1)]
    assert read == [30, 10, 20]
    assert data.train.reader.name(2).endswith("train-1.tar:a/0.png'")


def test_shards_of_the_library_hold_what_its_own_reader_finds(
    tmp_path: Path, open_with: OpenData
) -> None:
    for part, count in (("train", 7), ("test", 3)):
        pattern = str(tmp_path / f"{part}-%06d.tar")
        with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
            for number in range(count):
                label = {"cls": number % 3} if number % 2 else {"json": {"label": number % 3}}
                image = Image.fromarray(np.full((4, 5, 3), number, np.uint8))
                writer.write({"__key__": f"{number:06d}", "png": image, **label})
    data = open_with(f"wds:{tmp_path}")
    shards = sorted(map(str, tmp_path.glob("train-*.tar")))
    assert len(shards) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the library leaves shards open
        stream = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
        gc.collect()
    assert len(stream) == len(data.train)
    for index, sample in enumerate(stream):
        assert data.train.reader.name(index).endswith(f":{sample['__key__']}.png'")
        found = np.asarray(data.train.reader.read(index, 0))
        np.testing.assert_array_equal(found, sample["png"])
        wanted = sample["cls"] if "cls" in sample else sample["json"]["label"]
        assert data.train.targets[index] == wanted


def test_what_is_wrong_with_shards_is_named(tmp_path: Path, open_with: OpenData) -> None:
    def refusal() -> str:
        with pytest.raises(InputError) as error:
            open_with(f"wds:{tmp_path}")
        return str(error.value)

    assert "there are none of train" in refusal()
    shards(tmp_path)
    write(tmp_path / "train-2.tar", {"x.png": png(1)})
    assert "sample 'x' of" in refusal()
    assert "put its index into x.cls" in refusal()
    write(tmp_path / "train-2.tar", {"x.png": png(1), "x.cls": b"cat"})
    assert "train-2.tar:x.cls' must be an index from 0 on, got b'cat'" in refusal()
    write(tmp_path / "train-2.tar", {"x.png": png(1), "x.cls": b"0"}, "w:gz")
    assert "shards are plain .tar files" in refusal()


def test_a_damaged_image_in_a_shard_is_named(tmp_path: Path, open_with: OpenData) -> None:
    write(shards(tmp_path) / "train-2.tar", {"x.png": png(1)[:40], "x.cls": b"0"})
    with pytest.raises(InputError, match=r"train-2\.tar:x\.png'.*--skip-bad-images"):
        open_with(f"wds:{tmp_path}")
    assert len(open_with(f"wds:{tmp_path}", skip_bad_images=True).train) == 3
