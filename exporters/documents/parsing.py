"""JSON documents with a schema version, read from bytes that nobody has checked."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from ...support.errors import InputError, shown

Document = TypeVar("Document", bound=BaseModel)


def schema_of(raw: bytes) -> object:
    """Return the schema that a JSON document says it has; None where it says none."""
    try:
        return _schema(raw)
    except ValueError:
        return None


def _schema(raw: bytes) -> object:
    content = from_json(raw, allow_inf_nan=False)
    return content.get("schema") if isinstance(content, dict) else None


def parse_document(raw: bytes, kind: type[Document], schema: str, what: str) -> Document:
    """Parse a JSON document of the given schema.

    Args:
        raw: the content, UTF-8.
        kind: the pydantic model of the content.
        schema: the value that the key ``schema`` must have, for example ``"wfpipe-report/1"``.
        what: the document as the user knows it, for the error.

    Raises:
        InputError: when it is not JSON, has another schema, or breaks a rule of the schema.
    """
    try:
        found = _schema(raw)
    except ValueError:
        raise InputError(f"{what} is not valid JSON") from None
    if found != schema:
        raise InputError(f"{what} must have the schema {schema!r}, got {shown(found)}")
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = shown(".".join(str(part) for part in problem["loc"]))
        rule = " ".join(problem["msg"].removeprefix("Value error, ").split())
        raise InputError(f"{what}: {where}: {rule}") from None
