from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wfpipe.pipeline.data.preparation.structured import StructuredSamples
from wfpipe.pipeline.data.sources.factory import FactoryReader
from wfpipe.pipeline.data.sources.hub_rows import HubRows, Words
from wfpipe.pipeline.stages.texts import packable_text
from wfpipe.support.progress import Silent


class Tokens:
    """What the library tokenizers makes: a token of each letter."""

    def __init__(self, text: str) -> None:
        self.ids = [ord(letter) for letter in text[:3].ljust(3)]
        self.attention_mask = [1, 1, 1]

    def __getitem__(self, name: str) -> list[int]:
        return self.ids if name == "input_ids" else self.attention_mask

    def __iter__(self) -> Any:
        return iter(("input_ids", "attention_mask"))


class Backend:
    shift = 0

    @classmethod
    def from_str(cls, content: str) -> Backend:
        assert content == '{"as": "it is"}'
        return cls()

    def to_str(self) -> str:
        return '{"as": "it is"}'

    def encode(self, text: str, is_pretokenized: bool) -> Tokens:
        tokens = Tokens(text)
        tokens.ids = [number + self.shift for number in tokens.ids]
        return tokens


class Tokenizer:
    """What transformers makes of it."""

    model_max_length = 3
    backend_tokenizer: Any = Backend()

    def __call__(self, text: str, pair: None, **how: Any) -> Tokens:
        return Tokens(text)


class Warned(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, message: str) -> None:
        self.said.append(message)


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> type[Backend]:
    made = ModuleType("tokenizers")
    vars(made).update(Tokenizer=Backend, __version__="0.1")
    monkeypatch.setitem(sys.modules, "tokenizers", made)
    return Backend


def data(tokenizer: Any) -> Any:
    rows = [{"say": f"word {n}", "size": [n], "y": 0} for n in range(5)]
    made = HubRows(rows, {"sizes": "size"}, "y", Words(tokenizer, "say"), "classification")
    reader = FactoryReader("hf:x", "test", made, sent=True)
    return SimpleNamespace(test=StructuredSamples(reader, np.array([3, 1, 2])))


def test_the_tokenizer_goes_into_the_package_with_the_texts_of_the_first_samples() -> None:
    found = packable_text(data(Tokenizer()), 2, Silent())
    assert found is not None
    assert found.tokenizer == b'{"as": "it is"}'
    assert found.rows == ({"say": "word 3"}, {"say": "word 1"})
    assert found.how.columns == {"text": "say", "sizes": "size"}
    assert found.how.inputs == {"input_ids": "ids", "attention_mask": "attention_mask"}
    assert (found.how.tokens, found.how.words, found.how.numbers) == (3, False, ["sizes"])


@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [
        (Tokenizer, ("backend_tokenizer", None), "it is written in Python"),
        (Backend, ("shift", 1), "its tokenizer.json alone gives other tokens"),
    ],
)
def test_a_tokenizer_that_a_device_could_not_follow_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, attribute: Any, value: tuple[str, Any], why: str
) -> None:
    monkeypatch.setattr(attribute, *value)
    reporter = Warned()
    assert packable_text(data(Tokenizer()), 2, reporter) is None
    assert len(reporter.said) == 1
    assert why in reporter.said[0]
