from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from wfpipe.pipeline.data.source import Data
from wfpipe.pipeline.data.sources import hub as hub_module
from wfpipe.support.errors import InputError

OpenData = Callable[..., Data]


class FakeImage:
    """Stands for the feature type of images."""


class FakeClassLabel:
    """Stands for the feature type of class indices."""

    names = ("cat", "dog")


class FakeSplit:
    """A split as the ``datasets`` package has it: rows by number, columns by name."""

    def __init__(self, labels: list[int | None], features: dict[str, Any] | None = None) -> None:
        self.labels = labels
        self.features = features or {"image": FakeImage(), "label": FakeClassLabel(), "id": None}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.labels
        pixels = np.full((4, 5, 3), 10 * key, np.uint8)
        return {name: Image.fromarray(pixels) for name in self.features} | {"id": key}


UseHub = Callable[..., None]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> UseHub:
    """Put a fake ``datasets`` package in place that knows the data set ``pets``."""

    def use(**splits: FakeSplit) -> None:
        def load_dataset(name: str) -> dict[str, FakeSplit]:
            if name != "pets":
                raise FileNotFoundError(f"Dataset '{name}' doesn't exist on the Hub\nat all")
            return splits

        fake = SimpleNamespace(
            load_dataset=load_dataset, Image=FakeImage, ClassLabel=FakeClassLabel
        )
        monkeypatch.setitem(sys.modules, "datasets", fake)

    return use


def test_images_and_classes_come_from_their_columns(open_with: OpenData, hub: UseHub) -> None:
    hub(train=FakeSplit([0, 1, 1]), test=FakeSplit([1, 0]))
    data = open_with("hf:pets")
    assert data.class_names == ("cat", "dog")
    assert data.preprocessing.shape == (3, 4, 5)
    assert data.train.targets.tolist() == [0, 1, 1]
    inputs, targets = next(iter(data.test_batches(batch=2)))
    assert torch.allclose(inputs[1], torch.full((3, 4, 5), 10 / 255))
    assert targets.tolist() == [1, 0]


def test_validation_takes_the_place_of_a_test_split_without_labels(
    open_with: OpenData, hub: UseHub
) -> None:
    train = FakeSplit([0, 1])
    hub(train=train, validation=FakeSplit([0, 1, 1]), test=FakeSplit([-1, None]))
    assert open_with("hf:pets").test.targets.tolist() == [0, 1, 1]


def test_column_called_label_wins_over_other_class_columns(
    open_with: OpenData, hub: UseHub
) -> None:
    features = {"picture": FakeImage(), "coarse": FakeClassLabel(), "label": FakeClassLabel()}
    hub(train=FakeSplit([0, 1], features), test=FakeSplit([0, 1], features))
    assert len(open_with("hf:pets").train) == 2


class FakeTokenizer:
    """Makes a token of each word: its length."""

    model_max_length = 6

    def __call__(self, text: str, pair: str | None, max_length: int, **how: Any) -> Any:
        ids = [len(word) for word in " ".join(filter(None, [text, pair])).split()]
        padded = (ids + [0] * max_length)[:max_length]
        return {"input_ids": padded, "attention_mask": [int(i > 0) for i in padded]}


class FakeTexts(FakeSplit):
    """A split of two texts a row."""

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return self.labels
        return {"one": "a film " * key, "two": "bad", "sizes": [0.5, key], "y": self.labels[key]}


def texts(labels: list[int | None]) -> FakeTexts:
    string = SimpleNamespace(dtype="string")
    return FakeTexts(labels, {"one": string, "two": string, "sizes": None, "y": None})


def test_texts_become_tokens_and_other_columns_inputs_by_name(
    open_with: OpenData, hub: UseHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "tokenizer_of", lambda name: FakeTokenizer())
    hub(train=texts([0, 1, 1]), test=texts([1, 0]))
    columns = {"text": "one", "text_pair": "two", "sizes": "sizes", "label": "y"}
    data = open_with("hf:pets", columns=columns, tokenizer="hf:net")
    inputs, targets = next(iter(data.test_batches(batch=2)))
    assert inputs["input_ids"].tolist() == [[3, 0, 0, 0, 0, 0], [1, 4, 3, 0, 0, 0]]
    assert inputs["sizes"].tolist() == [[0.5, 0.0], [0.5, 1.0]]
    assert targets.tolist() == [1, 0]


def test_texts_are_their_own_labels_where_the_next_token_is_learnt(
    open_with: OpenData, hub: UseHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "tokenizer_of", lambda name: FakeTokenizer())
    string = {"one": SimpleNamespace(dtype="string")}
    hub(train=FakeTexts([None] * 3, string), test=FakeTexts([None] * 2, string))
    data = open_with("hf:pets", tokenizer="hf:net", task="next-token")
    inputs, targets = next(iter(data.test_batches(batch=2)))
    assert inputs["input_ids"][1].tolist() == [1, 4, 0, 0, 0, 0]
    assert targets[1].tolist() == [1, 4, -100, -100, -100, -100]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": {"text": "none"}}, "unknown column of data 'hf:pets' 'none'"),
        ({"columns": {"text": "one", "label": "y"}}, "has text: say whose tokenizer"),
        ({"columns": {"label": "y"}, "tokenizer": "hf:n"}, "type string, found one, two; say"),
        ({"columns": {"text_pair": "two", "label": "y"}}, "needs text, image, or inputs"),
        ({"columns": {"image": "one", "x": "sizes", "label": "y"}}, "has image and x"),
        ({}, "type ClassLabel, found none"),
    ],
)
def test_columns_that_cannot_be_told_are_refused(
    open_with: OpenData, hub: UseHub, settings: dict[str, Any], message: str
) -> None:
    hub(train=texts([0, 1]), test=texts([1, 0]))
    with pytest.raises(InputError, match=message):
        open_with("hf:pets", **settings)


def no_labels() -> FakeSplit:
    return FakeSplit([0, 1], {"image": FakeImage(), "text": None})


def two_images() -> FakeSplit:
    return FakeSplit([0, 1], {"a": FakeImage(), "b": FakeImage(), "label": FakeClassLabel()})


def not_an_image() -> FakeSplit:
    return FakeSplit([0, 1], {"id": FakeImage(), "label": FakeClassLabel()})


WRONG: dict[str, tuple[dict[str, FakeSplit], str]] = {
    "no train": ({"test": FakeSplit([0, 1])}, "has no split 'train'"),
    "no test": ({"train": FakeSplit([0, 1])}, r"train and a test .* it has them in train$"),
    "unlabelled": ({"train": FakeSplit([-1, 0]), "test": FakeSplit([0])}, "has them in test$"),
    "no labels": ({"train": no_labels(), "test": no_labels()}, "type ClassLabel, found none"),
    "two images": ({"train": two_images(), "test": two_images()}, "type Image, found a, b"),
    "names": (
        {"train": FakeSplit(["cat", "dog"]), "test": FakeSplit(["cat"])},  # type: ignore[list-item]
        "column 'label' of split 'train' must hold the number of a class .* got 'cat'",
    ),
    "fractions": (
        {"train": FakeSplit([0.5, 1.5]), "test": FakeSplit([1.0])},  # type: ignore[list-item]
        "must hold the number of a class for each image, got 0.5",
    ),
    "numbers": (
        {"train": not_an_image(), "test": not_an_image()},
        "0 of split 'train' is not an image but int",
    ),
}


@pytest.mark.parametrize(("splits", "message"), WRONG.values(), ids=WRONG)
def test_wrong_data_set_is_refused(
    open_with: OpenData, hub: UseHub, splits: dict[str, FakeSplit], message: str
) -> None:
    hub(**splits)
    with pytest.raises(InputError, match=message):
        open_with("hf:pets")


def test_unknown_data_set_is_named_in_one_line(open_with: OpenData, hub: UseHub) -> None:
    hub()
    with pytest.raises(InputError, match="cannot load data 'hf:pest': FileNotFound") as error:
        open_with("hf:pest")
    assert "\n" not in str(error.value)


def test_missing_package_names_the_extra_to_install(
    open_with: OpenData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r'pip install "wfpipe\[hf\]"'):
        open_with("hf:pets")
