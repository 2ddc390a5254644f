"""What a package needs so that a device can make tokens as the run did."""

from __future__ import annotations

from typing import Any

from ...exporters.documents.manifest import TextInputs, TokenKind
from ...exporters.packaging.package import PackableText
from ...exporters.packaging.texts import encoded
from ...support.errors import first_line
from ...support.progress import Reporter
from ..data.preparation.structured import StructuredSamples
from ..data.source import Data
from ..data.sources.hub_rows import HubRows, Words

_KINDS: dict[str, TokenKind] = {
    "input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"
}  # fmt: skip
"""What a tokenizer of transformers calls its outputs → what the library tokenizers does."""


def packable_text(data: Data, count: int, reporter: Reporter) -> PackableText | None:
    """Return the tokenizer of the data with the texts of the first test samples; None without text.

    A tokenizer that does more than its ``tokenizer.json`` says is left out, and the run says so.

    Args:
        data: of the run.
        count: test samples whose texts are taken.
        reporter: where a warning goes.
    """
    if not isinstance(data.test, StructuredSamples):
        return None
    rows = data.test.reader.dataset
    if not isinstance(rows, HubRows) or rows.words is None:
        return None
    chosen = [int(index) for index in data.test.indices[:count]]
    try:
        return _text(rows, rows.words, chosen)
    except Exception as error:  # whatever tokenizers raise
        reporter.warn(
            "the package takes tokens and no text: what the tokenizer does cannot be put into it "
            f"({first_line(error)})"
        )
        return None


def _text(rows: HubRows, words: Words, chosen: list[int]) -> PackableText:
    """Return the tokenizer and the texts, having compared its tokens with those of the run.

    Raises:
        Exception: when they are not the same, or the tokenizer has no ``tokenizer.json``.
    """
    import tokenizers

    texts = [column for use, column in rows.columns.items() if use in ("text", "text_pair")]
    found = [{column: rows.row(index)[column] for column in texts} for index in chosen]
    wanted = [words.encode(row) for row in found]
    content = _content(words.tokenizer)
    how = TextInputs(
        columns=rows.columns,
        words=not isinstance(found[0][words.text], str),
        tokens=words.length,
        inputs={name: _kind(name) for name in wanted[0]},
        tokenizers=tokenizers.__version__,
    )
    device, said = tokenizers.Tokenizer.from_str(content), how.model_dump()
    for row, tokens in zip(found, wanted, strict=True):
        again = encoded(row, device, said, "a text")
        if any(getattr(again, kind) != tokens[name] for name, kind in how.inputs.items()):
            raise ValueError("its tokenizer.json alone gives other tokens")
    return PackableText(how, content.encode(), tuple(found))


def _content(tokenizer: Any) -> str:
    """Return ``tokenizer.json`` as it cuts and fills up now."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("it is written in Python")
    return str(backend.to_str())


def _kind(name: str) -> TokenKind:
    if name not in _KINDS:
        raise ValueError(f"it makes {name}")
    return _KINDS[name]
