"""infer.py in an environment that holds nothing but onnxruntime, numpy and pillow."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.tests.exporters.package_samples import CLASSES, golden_inputs, make_package

NEEDED = ("onnxruntime", "numpy", "PIL")


def link_package(name: str, site: Path) -> None:
    """Link an installed package, with the folder of shared libraries that wheels bring."""
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    (site / folder.name).symlink_to(folder)
    libraries = folder.with_name({"PIL": "pillow"}.get(name, name) + ".libs")
    if libraries.is_dir():
        (site / libraries.name).symlink_to(libraries)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with three packages, without their dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in NEEDED:
        link_package(name, site)
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    unpack_archive(make_package(folder), folder / "unpacked")
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9), np.uint8)
    (folder / "photos").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.fromarray(pixels).save(folder / "photos" / name)
    np.save(folder / "samples.npy", golden_inputs(3))
    return folder / "unpacked"


def run(python: Path, *arguments: str | Path) -> str:
    done = subprocess.run(
        [str(python), "-I", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_environment_holds_nothing_else(python: Path) -> None:
    code = (
        "import importlib.util as u; print([n for n in ('torch', 'onnx', 'google', 'pydantic', "
        "'wfpipe', 'click', 'flatbuffers', 'pip', 'setuptools') if u.find_spec(n)])"
    )
    assert run(python, "-c", code) == "[]\n"
    assert sys.prefix not in run(python, "-c", "import sys; print(sys.path)")


def test_images_a_folder_and_arrays_get_classes_with_probabilities(
    python: Path, package: Path
) -> None:
    photos = package.parent / "photos"
    inputs = [photos / "a.png", photos, package.parent / "samples.npy"]
    results = json.loads(run(python, package / "infer.py", "--json", *inputs))
    names = [str(photos / name) for name in ("a.png", "a.png", "b.jpg")]
    names += [f"{package.parent / 'samples.npy'}[{index}]" for index in range(3)]
    assert [result["input"] for result in results] == names
    for result in results:
        assert {entry["name"] for entry in result["classes"]} == set(CLASSES)
        assert sum(entry["probability"] for entry in result["classes"]) == pytest.approx(1)


def test_people_read_a_line_for_each_sample(python: Path, package: Path) -> None:
    lines = run(python, package / "infer.py", "--top", "1", package.parent / "photos").splitlines()
    assert len(lines) == 2
    assert all(line.endswith(" %") for line in lines)


def test_the_self_test_passes_there(python: Path, package: Path) -> None:
    assert run(python, package / "infer.py", "--self-test").startswith("self-test passed: ")
