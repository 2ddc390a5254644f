"""Makes the inputs of the model of this package from text, for ``infer.py``: needs tokenizers.

``tokenizer.json`` says how a text becomes tokens, and how these are cut and filled up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Row = dict[str, Any]


def samples(file: Path, manifest: dict[str, Any], folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield the name and the inputs of each text in a file.

    Args:
        file: ``.txt`` with a text on each line, or ``.jsonl`` with an object on each line: what
            the columns of the training data hold, by name.
        manifest: that of the package.
        folder: the package, unpacked.

    Raises:
        ValueError: when it cannot be read, or lacks a column.
    """
    tokenizer = open_tokenizer(folder)
    with open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                name, text = f"{file}:{number}", line.rstrip("\n")
                row = parsed(text, file.suffix.lower() == ".txt", manifest["text"], name)
                yield name, inputs_of(row, tokenizer, manifest, name)


def open_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of the package."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ValueError(
            "text needs the library tokenizers: pip install tokenizers; or pass tokens as .npz"
        ) from None
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def parsed(line: str, plain: bool, how: dict[str, Any], name: str) -> Row:
    """Return the columns of a line of text, or of JSON."""
    columns = how["columns"]
    if plain:
        if len(columns) > 1:
            wanted = ", ".join(columns.values())
            raise ValueError(f"{name}: the model takes {wanted}: pass them in a .jsonl file")
        return {columns["text"]: line.split() if how["words"] else line}
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{name} is no JSON: {error}") from None
    missing = [c for c in columns.values() if not isinstance(row, dict) or c not in row]
    if missing:
        raise ValueError(f"{name} must be an object with {', '.join(missing)}")
    return dict(row)


def inputs_of(row: Row, tokenizer: Any, manifest: dict[str, Any], name: str) -> dict[str, Array]:
    """Return the inputs that a row stands for, by name."""
    how = manifest["text"]
    tokens, made = encoded(row, tokenizer, how, name), {}
    for spec in manifest["inputs"]:
        kind = how["inputs"].get(spec["name"])
        value = row[how["columns"][spec["name"]]] if kind is None else getattr(tokens, kind)
        try:
            made[spec["name"]] = np.asarray(value, dtype=spec["dtype"])
        except (TypeError, ValueError):
            raise ValueError(f"{name}: {spec['name']} must be numbers of one length") from None
    return made


def encoded(row: Row, tokenizer: Any, how: dict[str, Any], name: str) -> Any:
    """Return what the tokenizer makes of a row."""
    columns = [how["columns"][use] for use in ("text", "text_pair") if use in how["columns"]]
    texts = [row[column] for number, column in enumerate(columns) if row[column] or not number]
    for text in texts:
        right = isinstance(text, list if how["words"] else str)
        if not right or (how["words"] and not all(isinstance(word, str) for word in text)):
            raise ValueError(f"{name} must hold {'lists of words' if how['words'] else 'text'}")
    return tokenizer.encode(*texts, is_pretokenized=how["words"])


def check(manifest: dict[str, Any], folder: Path, golden: list[dict[str, Array]]) -> str:
    """Compare what the tokenizer makes of the golden texts with the golden tokens.

    Returns:
        What was found, for a line.

    Raises:
        ValueError: when other tokens come out.
    """
    try:
        tokenizer = open_tokenizer(folder)
    except ValueError:
        return "its texts were not tried: tokenizers is not installed"
    rows = json.loads((folder / "golden" / "texts.json").read_bytes())
    how = manifest["text"]
    for number, (row, wanted) in enumerate(zip(rows, golden)):  # noqa: B905
        tokens = encoded(row, tokenizer, how, f"golden text {number}")
        for name, kind in how["inputs"].items():
            if not np.array_equal(getattr(tokens, kind), wanted[name]):
                raise ValueError(
                    f"golden text {number} has other {name} than where it was packed with "
                    f"tokenizers {how['tokenizers']}"
                )
    return f"{len(rows)} golden texts give the same tokens"
