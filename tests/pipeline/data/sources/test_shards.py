from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
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
