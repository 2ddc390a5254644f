from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from wfpipe.exporters.documents.preprocessing import ImageRules
from wfpipe.exporters.packaging import infer
from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.pipeline.data.preparation.form import Form
from wfpipe.pipeline.data.sources.image_folder import ImageFiles
from wfpipe.tests.exporters.package_samples import (
    CLASSES,
    Array,
    golden_inputs,
    linear_model,
    make_package,
    metadata,
    preprocessing,
)


def unpacked(folder: Path, model: onnx.ModelProto | None = None, channels: int = 1) -> Path:
    package = make_package(folder, model, channels)
    unpack_archive(package, folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("grey"))


@pytest.fixture(scope="module")
def color(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("color"), channels=3)


def call(
    package: Path, *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run infer.py of an unpacked package as its user would: without wfpipe in reach."""
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(package / "infer.py"), *map(str, arguments)],
        cwd=cwd or package,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def classes(package: Path, *arguments: str | Path) -> list[dict[str, Any]]:
    done = call(package, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def refused(package: Path, *arguments: str | Path) -> str:
    done = call(package, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("infer.py: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def picture(path: Path, shape: tuple[int, ...] = (4, 5), mode: str | None = None) -> Path:
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def probabilities(package: Path, prepared: Array) -> Array:
    session = ort.InferenceSession(package / "model.onnx", providers=["CPUExecutionProvider"])
    logits = session.run(None, {"input": prepared})[0].astype(np.float64)
    shares: Array = torch.softmax(torch.from_numpy(logits), 1).numpy()
    return shares


def shares(result: dict[str, Any]) -> list[float]:
    """The probabilities of a result by class index."""
    found = sorted(result["classes"], key=lambda entry: entry["index"])
    return [entry["probability"] for entry in found]


def test_the_program_imports_nothing_of_wfpipe() -> None:
    text = Path(infer.__file__).read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from \.|from wfpipe|import wfpipe)", text, re.MULTILINE)
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - sys.stdlib_module_names == {"numpy", "onnxruntime", "PIL"}


def test_an_image_gets_its_classes_with_probabilities(grey: Path, tmp_path: Path) -> None:
    (result,) = classes(grey, picture(tmp_path / "a.png"))
    pixels = torch.from_numpy(np.array(Image.open(tmp_path / "a.png")))[None, None]
    wanted = probabilities(grey, preprocessing().prepare(pixels).numpy())[0]
    np.testing.assert_allclose(shares(result), wanted, rtol=1e-6)
    assert result["input"] == str(tmp_path / "a.png")
    best = int(np.argmax(wanted))
    assert (result["classes"][0]["index"], result["classes"][0]["name"]) == (best, CLASSES[best])


def test_the_result_is_a_line_for_people_too(grey: Path, tmp_path: Path) -> None:
    done = call(grey, picture(tmp_path / "a.png"), "--top", "2", "--threads", "1")
    line = rf"{re.escape(str(tmp_path / 'a.png'))}: \w+ \d+\.\d %, \w+ \d+\.\d %\n"
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(line, done.stdout)


def test_a_folder_gives_every_image_in_it(grey: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    files = [
        picture(tmp_path / "b.PNG"),
        picture(tmp_path / "sub" / "a.bmp"),
        picture(tmp_path / "c.jpg", (40, 30, 3)),
    ]
    (tmp_path / "notes.txt").write_text("no image")
    found = classes(grey, tmp_path)
    assert [result["input"] for result in found] == sorted(map(str, files))


def test_floats_in_an_npy_file_go_in_as_they_are(grey: Path, tmp_path: Path) -> None:
    inputs = golden_inputs(3)
    np.save(tmp_path / "a.npy", inputs.astype(np.float64))
    found = classes(grey, tmp_path / "a.npy")
    assert [result["input"] for result in found] == [f"{tmp_path / 'a.npy'}[{i}]" for i in range(3)]
    got = np.array([shares(result) for result in found])
    np.testing.assert_allclose(got, probabilities(grey, inputs), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 5, 1)])
def test_bytes_in_an_npy_file_are_images(
    grey: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    got = np.array([shares(result) for result in classes(grey, tmp_path / "a.npy")])
    batch = torch.from_numpy(pixels.reshape(2, 1, 4, 5))
    wanted = probabilities(grey, preprocessing().prepare(batch).numpy())
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_a_color_image_and_its_array_get_the_same_classes(color: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", (9, 7, 3))
    np.save(tmp_path / "a.npy", np.array(Image.open(tmp_path / "a.png"))[None])
    image, array = classes(color, tmp_path / "a.png", tmp_path / "a.npy")
    assert image["classes"] == array["classes"]


def manifest(channels: int) -> dict[str, Any]:
    return {"preprocessing": preprocessing(channels).model_dump(mode="json")}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "1", "CMYK"])
@pytest.mark.parametrize("size", [(4, 5), (9, 7), (2, 3)])
def test_an_image_is_prepared_as_for_training(
    tmp_path: Path, channels: int, mode: str, size: tuple[int, int]
) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    path = picture(tmp_path / f"a.{suffix}", (*size, 3), mode)
    got = infer.prepare(infer.read_image(path, manifest(channels)), manifest(channels), "a")
    form = Form("image", "L" if channels == 1 else "RGB", (channels, 4, 5))
    with Image.open(path) as image:
        pixels = torch.from_numpy(np.array(form.fit(image, "a")))
    wanted = preprocessing(channels).prepare(pixels[None])[0].numpy()
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == np.float32


RULES: list[dict[str, Any]] = [
    {"resize": (7,), "crop": True},
    {"resize": (3,), "crop": True, "interpolation": "bicubic"},
    {"resize": (6, 9), "crop": True, "interpolation": "nearest"},
    {"crop": True, "background": "white"},
    {"interpolation": "lanczos", "background": "black"},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["RGB", "LA", "RGBA", "P", "I;16"])
def test_an_image_is_sized_coloured_and_turned_as_for_training(
    tmp_path: Path, rules: dict[str, Any], channels: int, mode: str
) -> None:
    rng, exif = np.random.default_rng(3), Image.Exif()
    pixels = rng.integers(0, 256, (9, 14, 4), np.uint8)
    exif[0x0112] = 6
    deep = Image.fromarray(rng.integers(0, 2**16, (9, 14), np.uint16))
    image = deep if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    transparency: dict[str, Any] = {"transparency": 3} if mode == "P" else {}
    image.save(tmp_path / "a.png", exif=exif, **transparency)
    how = preprocessing(channels).model_copy(update={**rules, "white": 4095.0})
    stated = {"preprocessing": how.model_dump(mode="json")}
    got = infer.prepare(infer.read_image(tmp_path / "a.png", stated), stated, "a")
    known = {key: getattr(how, key) for key in ImageRules.model_fields}
    form = Form("image", "L" if channels == 1 else "RGB", how.shape, rules=ImageRules(**known))
    read = ImageFiles([str(tmp_path / "a.png")]).read(0, 0)
    wanted = how.prepare(torch.from_numpy(np.array(form.fit(read, "a")))[None])[0].numpy()
    np.testing.assert_array_equal(got, wanted)


def test_gray_arrays_are_repeated_for_three_channels(color: Path, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.array(Image.open(tmp_path / "a.png"))[None])
    image, array = classes(color, tmp_path / "a.png", tmp_path / "a.npy")
    assert image["classes"] == array["classes"]


def test_mean_and_std_of_each_channel_are_applied() -> None:
    how = preprocessing(3).model_copy(update={"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)})
    pixels = np.random.default_rng(1).integers(0, 256, (3, 4, 5), np.uint8)
    planes = [Image.fromarray(plane) for plane in pixels]
    got = infer.prepare(planes, {"preprocessing": how.model_dump(mode="json")}, "a")
    wanted = how.prepare(torch.from_numpy(pixels)[None])[0].numpy()
    np.testing.assert_array_equal(got, wanted)


def test_the_self_test_passes_on_a_whole_package_from_any_folder(
    grey: Path, tmp_path: Path
) -> None:
    done = call(grey, "--self-test", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("self-test passed: 4 golden samples, largest difference ")


@pytest.mark.parametrize("name", ["model.onnx", "golden/inputs.npy"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_the_self_test_fails_by_name(tmp_path: Path, name: str, how: str) -> None:
    package = unpacked(tmp_path)
    if how == "missing":
        (package / name).unlink()
    else:
        (package / name).write_bytes((package / name).read_bytes() + b"x")
    done = call(package, "--self-test")
    assert done.returncode == 3
    assert done.stderr == f"infer.py: self-test failed: {name} is missing or changed\n"


def test_the_self_test_fails_where_outputs_differ(tmp_path: Path) -> None:
    package = unpacked(tmp_path)
    golden = package / "golden" / "outputs.npy"
    np.save(golden, np.load(golden) * 1.01)
    content = json.loads((package / "manifest.json").read_text())
    del content["files"]["golden/outputs.npy"]
    (package / "manifest.json").write_text(json.dumps(content))
    done = call(package, "--self-test")
    assert done.returncode == 3
    assert done.stdout.startswith("self-test failed: 4 golden samples")


def test_a_model_without_class_names_gives_numbers(tmp_path: Path) -> None:
    package = unpacked(tmp_path, linear_model(props={}))
    np.save(tmp_path / "a.npy", golden_inputs(1))
    (result,) = classes(package, tmp_path / "a.npy")
    assert sorted(entry["name"] for entry in result["classes"]) == ["0", "1", "2"]


def test_a_model_of_features_takes_no_images(tmp_path: Path) -> None:
    how = preprocessing().model_copy(update={"kind": "features"})
    package = unpacked(tmp_path, linear_model(props=metadata(how)))
    assert "takes no images" in refused(package, picture(tmp_path / "a.png"))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_a_file_that_is_no_image_is_named(grey: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    assert f"cannot read image {tmp_path / 'a.png'}" in refused(grey, tmp_path / "a.png")


def test_inputs_that_cannot_be_used_are_named(grey: Path, tmp_path: Path) -> None:
    cut = picture(tmp_path / "cut.png", (50, 50))
    cut.write_bytes(cut.read_bytes()[:600])
    assert "cut.png" in refused(grey, cut)
    assert "none.png" in refused(grey, tmp_path / "none.png")
    (tmp_path / "empty").mkdir()
    assert "no images in folder" in refused(grey, tmp_path / "empty")
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "deep.png")
    assert "must have 8-bit ones" in refused(grey, tmp_path / "deep.png")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 4, 5, 3), np.uint8), "has 3 channels, and the model takes 1 channels"),
        (np.zeros((2, 4, 6), np.float32), "the model does not run"),
        (np.zeros((2, 4), np.int64), "must hold uint8 images or float inputs"),
        (np.zeros((0, 4, 5), np.uint8), "must hold uint8 images or float inputs"),
        (np.full((1, 1, 4, 5), np.nan, np.float32), "must give 3 finite scores"),
        (np.array([{"a": 1}]), "cannot read"),
    ],
)
def test_arrays_that_do_not_fit_are_named(
    grey: Path, tmp_path: Path, array: Array, words: str
) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    assert words in refused(grey, tmp_path / "a.npy")


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1]", b'{"schema": "x"}', b"[" * 10**5])
def test_a_bad_manifest_is_named(tmp_path: Path, content: bytes | None) -> None:
    package = unpacked(tmp_path)
    if content is None:
        (package / "manifest.json").unlink()
    else:
        (package / "manifest.json").write_bytes(content)
    refused(package, "--self-test")


def test_a_bad_model_is_named(tmp_path: Path) -> None:
    package = unpacked(tmp_path)
    (package / "model.onnx").write_bytes(b"hello")
    assert "cannot open" in refused(package, picture(tmp_path / "a.png"))


@pytest.mark.parametrize(
    "arguments", [[], ["a.png", "--self-test"], ["a.png", "--top", "0"], ["--what"]]
)
def test_bad_usage_exits_2(grey: Path, arguments: list[str]) -> None:
    done = call(grey, *arguments)
    assert done.returncode == 2
    assert "infer.py: error: " in done.stderr
