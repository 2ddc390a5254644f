from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from wfpipe.pipeline.data import source as module
from wfpipe.pipeline.data.preparation.augment import ATTEMPTS, resized_crop_box
from wfpipe.pipeline.data.randomness import stream, uniforms
from wfpipe.pipeline.data.source import Data
from wfpipe.pipeline.data.sources.image_folder import ImageFiles
from wfpipe.pipeline.data.sources.reading import Reader
from wfpipe.support.errors import InputError

MakeFolder = Callable[..., Path]
OpenData = Callable[..., Data]
Batch = tuple[Tensor, Tensor]


def collect(batches: Iterable[Batch]) -> Batch:
    inputs, targets = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def folder_reader(reader: Reader) -> ImageFiles:
    assert isinstance(reader, ImageFiles)
    return reader


def same(one: Iterable[Batch], other: Iterable[Batch]) -> bool:
    pairs = zip(collect(one), collect(other), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: 0)


def test_digits_are_gray_images_of_ten_classes(open_with: OpenData) -> None:
    data = open_with("digits", mean=0.5, std=0.25)
    assert data.class_names == tuple("0123456789")
    assert data.classes == 10
    assert (len(data.train), len(data.test)) == (1438, 359)
    assert data.preprocessing.shape == (1, 8, 8)
    assert data.preprocessing.mean == (0.5,)
    inputs, targets = collect(data.test_batches(batch=100))
    assert inputs.dtype == torch.float32
    assert inputs.shape == (359, 1, 8, 8)
    assert inputs.min() == -2
    assert inputs.max() == 2
    assert torch.equal(targets, data.test.targets)


def test_epoch_holds_every_training_sample_once(open_with: OpenData) -> None:
    data = open_with("digits")
    batches = data.training_batches(epoch=3, batch=100)
    inputs, targets = collect(batches)
    assert len(batches) == 15
    assert sorted(targets.tolist()) == sorted(data.train.targets.tolist())
    stored = torch.from_numpy(data.train.cache).flatten(1).double().sum(1).sort().values
    seen = (inputs.flatten(1).double() * 255).round().sum(1).sort().values
    assert torch.equal(stored, seen)


def test_order_is_fixed_by_seed_and_epoch(open_with: OpenData) -> None:
    def targets(seed: int, epoch: int) -> list[int]:
        data = open_with("digits", seed=seed)
        return collect(data.training_batches(epoch=epoch, batch=64))[1].tolist()

    assert targets(1, 2) == targets(1, 2)
    assert targets(1, 2) != targets(1, 3)
    assert targets(1, 2) != targets(2, 2)


@pytest.mark.parametrize(("batch", "lengths"), [(2, [2, 2]), (3, [3, 2]), (1, [1] * 5), (9, [5])])
def test_last_batch_of_a_single_training_sample_is_dropped(
    open_with: OpenData, batch: int, lengths: list[int]
) -> None:
    data = open_with("digits", limit_train=10)
    few = replace(data.train, indices=data.train.indices[:5])
    batches = replace(data, train=few).training_batches(epoch=0, batch=batch)
    assert [len(targets) for _, targets in batches] == lengths
    assert len(batches) == len(lengths)


def test_last_test_batch_of_a_single_sample_is_kept(open_with: OpenData) -> None:
    batches = open_with("digits", limit_test=11).test_batches(batch=10)
    assert [len(targets) for _, targets in batches] == [10, 1]


def test_fisher_batches_use_the_split_up_before_they_start_again(open_with: OpenData) -> None:
    data = open_with("digits", limit_train=20, augment="flip,crop")
    batches = data.fisher_batches(draw=0, count=11, batch=4)
    inputs, _ = collect(batches)
    assert len(batches) == 11
    assert len(inputs) == 44
    plain = {tuple(row) for row in torch.from_numpy(data.train.cache).flatten(1).tolist()}
    rows = [tuple(row) for row in (inputs * 255).round().int().flatten(1).tolist()]
    assert set(rows[:20]) == set(rows[20:40]) == plain
    assert rows[:20] != rows[20:40]


def test_fisher_batches_are_fixed_by_seed_and_draw(open_with: OpenData) -> None:
    data, other = open_with("digits"), open_with("digits", seed=1)
    first = data.fisher_batches(draw=1, count=3, batch=5)
    assert same(first, data.fisher_batches(draw=1, count=3, batch=5))
    assert not same(first, data.fisher_batches(draw=2, count=3, batch=5))
    assert not same(first, other.fisher_batches(draw=1, count=3, batch=5))


def test_batches_can_be_gone_through_again_and_side_by_side(open_with: OpenData) -> None:
    data = open_with("digits", augment="crop")
    batches = data.training_batches(epoch=0, batch=400)
    for mine, theirs in zip(batches, batches, strict=True):
        assert torch.equal(mine[0], theirs[0])


@pytest.mark.usefixtures("no_cache")
@pytest.mark.parametrize("augment", ["crop,flip", "resized-crop,flip"])
def test_batches_do_not_depend_on_cache_threads_and_workers(
    open_with: OpenData, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, augment: str
) -> None:
    root = make_folder()
    read_anew = open_with(root, augment=augment)
    helped = open_with(root, augment=augment, workers=2)
    monkeypatch.setattr(module, "available_memory", lambda: 10**9)
    cached = open_with(root, augment=augment)
    assert cached.test.cache is not None
    assert read_anew.train.cache is None
    for other in (read_anew, helped):
        for epoch in (0, 1):
            wanted = cached.training_batches(epoch=epoch, batch=4)
            assert same(wanted, other.training_batches(epoch=epoch, batch=4))
        assert same(cached.test_batches(batch=4), other.test_batches(batch=4))
        wanted = cached.fisher_batches(draw=0, count=4, batch=3)
        assert same(wanted, other.fisher_batches(draw=0, count=4, batch=3))


def test_augmentation_can_be_left_out(open_with: OpenData, make_folder: MakeFolder) -> None:
    root = make_folder()
    plain, changed = open_with(root), open_with(root, augment="crop")
    wanted = plain.training_batches(epoch=0, batch=3)
    assert same(wanted, changed.training_batches(epoch=0, batch=3, augment=False))
    assert not same(wanted, changed.training_batches(epoch=0, batch=3))


def test_augmentation_equals_a_slow_reference_for_each_sample(open_with: OpenData) -> None:
    data = open_with("digits", seed=5, augment="crop,flip", crop_padding=2, limit_train=50)
    cache = data.train.cache
    assert cache is not None
    wanted = set()
    for index in range(50):
        position, name = np.array([index]), stream(5, "train", 3)
        row, column = np.floor(uniforms(stream(name, "crop"), position, 2)[0] * 5).astype(int)
        image = np.pad(cache[index, 0], 2)[row : row + 8, column : column + 8]
        if uniforms(stream(name, "flip"), position, 1)[0, 0] < 0.5:
            image = image[:, ::-1]
        wanted.add((int(data.train.targets[index]), image.tobytes()))
    inputs, targets = collect(data.training_batches(epoch=3, batch=7))
    found = {
        (int(target), (image * 255).round().byte().numpy().tobytes())
        for image, target in zip(inputs, targets, strict=True)
    }
    assert len(targets) == 49
    assert found <= wanted


def test_resized_crop_takes_its_part_from_the_image_before_it_is_resized(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder(size=(40, 30))
    data = open_with(root, seed=2, augment="resized-crop", size="12,10")
    inputs, _ = collect(data.training_batches(epoch=1, batch=6))
    wanted = []
    for index, path in enumerate(folder_reader(data.train.reader).paths):
        name = stream(stream(2, "train", 1), "resized-crop")
        draws = uniforms(name, np.array([index]), ATTEMPTS * 4).reshape(ATTEMPTS, 4)
        part = Image.open(path).crop(resized_crop_box(40, 30, draws))
        wanted.append(np.asarray(part.resize((10, 12), Image.Resampling.BILINEAR)))
    found = (inputs * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in wanted)


def test_images_are_resized_as_pillow_does(open_with: OpenData, make_folder: MakeFolder) -> None:
    root = make_folder()
    data = open_with(root, size=9)
    assert data.preprocessing.shape == (3, 9, 9)
    image = Image.open(folder_reader(data.test.reader).paths[0]).resize(
        (9, 9), Image.Resampling.BILINEAR
    )
    wanted = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
    assert torch.equal(collect(data.test_batches(batch=6))[0][0], wanted)


def test_arrays_are_resized_as_images_are(open_with: OpenData, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1])
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    data = open_with(tmp_path / "d.npz", size="8,7")
    wanted = Image.fromarray(images[2]).resize((7, 8), Image.Resampling.BILINEAR)
    inputs, _ = collect(data.test_batches(batch=4))
    assert torch.equal(
        inputs[2], torch.from_numpy(np.asarray(wanted).copy()).permute(2, 0, 1) / 255
    )


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3)])
def test_images_are_gray_only_if_they_all_are(
    open_with: OpenData, make_folder: MakeFolder, mode: str, channels: int
) -> None:
    assert open_with(make_folder(mode=mode)).preprocessing.shape == (channels, 6, 5)


def test_one_class_of_colour_images_makes_all_images_colour(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder(mode="L")
    Image.new("RGB", (5, 6), (9, 9, 9)).save(root / "train" / "dog" / "0.png")
    assert open_with(root).preprocessing.shape == (3, 6, 5)


@pytest.mark.parametrize("files", [True, False])
def test_colour_and_transparency_are_seen_behind_the_first_image_of_a_class(
    open_with: OpenData, make_folder: MakeFolder, recorder: Any, files: bool
) -> None:
    source: Any = make_folder(mode="L")
    last = max((source / "train" / "dog").glob("*.png"))
    Image.new("RGBA", (5, 6), (9, 9, 9, 9)).save(last)
    if not files:
        factory = source / "mine.py"
        factory.write_text(
            "from pathlib import Path\nfrom PIL import Image\nhere = Path(__file__).parent\n"
            "def data():\n    return [[(Image.open(p), int('dog' in str(p))) for p in sorted("
            "(here / part).rglob('*.png'))] for part in ('train', 'test')]\n"
        )
        source = f"{factory}:data"
    assert open_with(source).preprocessing.shape == (3, 6, 5)
    (warning,) = recorder.warnings
    assert "can be transparent" in warning


def test_palette_images_with_transparency_become_colour(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder()
    image = Image.new("RGB", (5, 6), (204, 102, 51)).convert("P")
    image.save(root / "test" / "cat" / "0.png", transparency=bytes([0, 255]))
    inputs, _ = collect(open_with(root).test_batches(batch=6))
    assert torch.equal((inputs[0, :, 0, 0] * 255).round(), torch.tensor([204.0, 102.0, 51.0]))


@pytest.mark.parametrize("settings", [{"channels": 3}, {"mean": [0.4, 0.4, 0.4]}])
@pytest.mark.parametrize("source", ["folder", "digits"])
def test_gray_images_are_repeated_when_asked_for_or_when_the_mean_has_three_channels(
    open_with: OpenData, make_folder: MakeFolder, recorder: Any, settings: Any, source: str
) -> None:
    data = open_with(make_folder(mode="L") if source == "folder" else source, **settings)
    inputs, _ = collect(data.test_batches(batch=2))
    assert inputs.shape[1] == data.preprocessing.shape[0] == 3
    assert torch.equal(inputs[:, 0], inputs[:, 2])
    assert len(recorder.said) == ("mean" in settings)


@pytest.mark.parametrize("memory", [0, 10**9])
def test_opened_gray_images_can_be_repeated(
    open_with: OpenData, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(module, "available_memory", lambda: memory)
    data = open_with(make_folder(mode="L"))
    gray, three = (collect(d.test_batches(batch=6))[0] for d in (data, data.repeated()))
    assert torch.equal(three, gray.expand(-1, 3, -1, -1))
    assert data.repeated().preprocessing.shape == (3, 6, 5)


def test_colour_becomes_gray_when_asked_for(open_with: OpenData, make_folder: MakeFolder) -> None:
    assert open_with(make_folder(), channels=1).preprocessing.shape == (1, 6, 5)


def test_a_crop_makes_images_of_any_size_fit(open_with: OpenData, make_folder: MakeFolder) -> None:
    root = make_folder()
    Image.new("RGB", (9, 4), (9, 9, 9)).save(root / "train" / "dog" / "0.png")
    data = open_with(root, size=8, crop=[6, 4], interpolation="bicubic")
    assert data.preprocessing.shape == (3, 6, 4)
    assert data.preprocessing.resize == (8,)
    assert data.preprocessing.crop
    assert data.preprocessing.interpolation == "bicubic"


def test_deep_images_are_refused_with_what_to_set(
    open_with: OpenData, make_folder: MakeFolder
) -> None:
    root = make_folder(mode="L")
    Image.fromarray(np.full((6, 5), 65535, np.uint16)).save(root / "train" / "dog" / "0.png")
    with pytest.raises(InputError, match=r"dog.0\.png' .*--set data\.white=65535"):
        open_with(root)
    assert open_with(root, white=65535).preprocessing.white == 65535


def test_transparent_images_are_pointed_out(
    open_with: OpenData, make_folder: MakeFolder, recorder: Any
) -> None:
    root = make_folder(mode="RGBA")
    open_with(root)
    (warning,) = recorder.warnings
    assert "--set data.background=white" in warning
    open_with(root, background="white")
    assert len(recorder.warnings) == 1


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown": ("digit", {}, r"unknown data set 'digit': did you mean 'digits'\?.*FILE\.npz"),
    "no name": ("hf:", {}, r"unknown data set 'hf:'"),
    "missing folder": ("some/where", {}, r"data folder 'some.where' does not exist"),
    "missing array file": ("nothing.npz", {}, r"'nothing.npz' does not exist"),
    "no factory": ("mydata.py", {}, r"FILE\.py:FACTORY"),
    "missing Python file": ("mydata.py:build", {}, r"'mydata\.py' does not exist"),
    "limit too low": ("digits", {"limit_train": 9}, r"number of classes \(10\), got 9"),
    "test limit too low": ("digits", {"limit_test": 3}, r"data\.limit_test must be at least"),
    "means": ("digits", {"mean": [0, 1]}, r"data\.mean must be one number or .* \(1\), got 2"),
    "stds": ("digits", {"std": [1, 1, 2, 2]}, r"data\.std must be one number or .* \(1\), got 4"),
}


@pytest.mark.parametrize(("source", "settings", "message"), WRONG.values(), ids=WRONG)
def test_wrong_setting_is_named(
    open_with: OpenData, source: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        open_with(source, **settings)
    assert "\n" not in str(error.value)


def write_floats(path: Path, labels: list[int]) -> Path:
    x = np.ones((len(labels), 3), np.float32)
    np.savez(path / "d.npz", x_train=x, y_train=np.array(labels), x_test=x, y_test=np.array(labels))
    return path / "d.npz"


@pytest.mark.parametrize(("key", "value"), [("size", 8), ("crop", 8), ("augment", "flip")])
def test_features_have_no_size_and_no_augmentation(
    open_with: OpenData, tmp_path: Path, key: str, value: object
) -> None:
    with pytest.raises(InputError, match=rf"data\.{key} needs images: .* holds float features"):
        open_with(write_floats(tmp_path, [0, 1]), **{key: value})


def test_one_class_is_not_enough(open_with: OpenData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has one class only \(4\) in its train split"):
        open_with(write_floats(tmp_path, [4, 4, 4]))


def test_folder_with_one_class_is_refused(open_with: OpenData, make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match=r"has one class only"):
        open_with(make_folder(classes=("cat",)))


def test_classes_are_counted_up_to_the_highest_label(open_with: OpenData, tmp_path: Path) -> None:
    data = open_with(write_floats(tmp_path, [0, 6, 3]), limit_train=3)
    assert data.classes == 7
    assert data.class_names is None
    assert data.preprocessing.kind == "features"


def test_file_of_an_unknown_kind_is_refused(open_with: OpenData, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"data\.csv' is a file of an unknown kind"):
        open_with(tmp_path / "data.csv")
