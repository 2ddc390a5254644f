"""Rows of a data set of the hub as samples: mappings of tensors with ``labels``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....exporters.measuring.accuracy import IGNORED
from ....support.errors import InputError

LONGEST = 128
"""Tokens of a text where nothing else is said, as in the examples of transformers."""


@dataclass(frozen=True)
class Words:
    """How text becomes tokens.

    Args:
        tokenizer: of transformers.
        text: the column of the text: a string, or a list of words with a label each.
        pair: the column of a second text, or None.
        tokens: of each sample, cut or filled up; None: ``LONGEST``, or as many as the model takes.
    """

    tokenizer: Any
    text: str
    pair: str | None = None
    tokens: int | None = None

    def encode(self, row: Mapping[str, Any]) -> Any:
        """Return what the tokenizer makes of a row: lists of numbers by name."""
        words = not isinstance(row[self.text], str)
        return self.tokenizer(
            row[self.text],
            None if self.pair is None else row[self.pair],
            is_split_into_words=words,
            padding="max_length",
            truncation=True,
            max_length=self.length,
        )

    @property
    def length(self) -> int:
        """Tokens of each sample."""
        return self.tokens or min(LONGEST, int(self.tokenizer.model_max_length))


class HubRows:
    """The rows of a split, read by index.

    Args:
        rows: of ``datasets``.
        inputs: columns of numbers that the network is given, by its names of them.
        label: the column of labels; None: the tokens themselves, −100 where they are filled up.
        words: how text becomes tokens; None: there is none.
        task: kind of the task; labels are floats but where they are classes.
    """

    def __init__(
        self,
        rows: Any,
        inputs: Mapping[str, str],
        label: str | None,
        words: Words | None,
        task: str,
    ) -> None:
        self._rows, self._inputs, self._label = rows, dict(inputs), label
        self.words = words
        self._floats = task in ("multilabel", "regression")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> dict[str, str]:
        """The columns that inputs are made of, by use."""
        texts = (
            {} if self.words is None else {"text": self.words.text, "text_pair": self.words.pair}
        )
        return {use: name for use, name in (texts | self._inputs).items() if name is not None}

    def row(self, index: int) -> Mapping[str, Any]:
        """Return a row as the data set has it."""
        found: Mapping[str, Any] = self._rows[index]
        return found

    def labelled(self) -> bool:
        """Whether the labels of the first row are there: those of test splits may be held back."""
        if self._label is None:
            return True
        label = self._rows[0][self._label]
        return label is not None and label != -1

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self._rows[index]
        sample = {name: _tensor(row[column], column) for name, column in self._inputs.items()}
        label = None if self._label is None else row[self._label]
        if self.words is not None:
            encoded = self.words.encode(row)
            sample |= {name: torch.tensor(encoded[name]) for name in encoded}
            if isinstance(label, list) and not isinstance(row[self.words.text], str):
                label = _first_tokens(encoded.word_ids(), label)
        if self._label is None:
            seen = sample["attention_mask"] != 0
            return {**sample, "labels": sample["input_ids"].where(seen, IGNORED)}
        labels = _tensor(label, self._label)
        return {**sample, "labels": labels.float() if self._floats else labels}


def _first_tokens(words: list[int | None], labels: list[int]) -> list[int]:
    """Give the first token of each word its label (Devlin et al. 2019, arXiv 1810.04805, 5.3)."""
    found, before = [], None
    for word in words:
        found.append(labels[word] if word is not None and word != before else IGNORED)
        before = word
    return found


def _tensor(value: Any, column: str) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        kind = type(value).__name__
        raise InputError(f"column {column!r} must hold numbers, got {kind}") from None
    return tensor.float() if tensor.is_floating_point() else tensor
