from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wfpipe.pipeline.data.sources.image_folder import ImageFiles
from wfpipe.pipeline.data.sources.image_headers import upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_images_are_turned_as_their_orientation_says(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    upright_pixels = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)
    stored = {  # what the sensor saw, by the definition of the tag: where row 0 and column 0 are
        1: upright_pixels,
        2: upright_pixels[:, ::-1],
        3: upright_pixels[::-1, ::-1],
        4: upright_pixels[::-1],
        5: upright_pixels.transpose(1, 0, 2),
        6: upright_pixels.transpose(1, 0, 2)[::-1],
        7: upright_pixels.transpose(1, 0, 2)[::-1, ::-1],
        8: upright_pixels.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif, lossless=True)
    reader = ImageFiles([str(path)])
    assert np.array_equal(np.asarray(reader.read(0, 0)), upright_pixels)
    assert reader.header(0) == ("RGB", (6, 4))


def test_damaged_exif_data_do_not_cost_the_image() -> None:
    image = Image.new("L", (2, 2))
    image.info["exif"] = b"Exif\0\0nonsense"
    assert upright(image) is image
