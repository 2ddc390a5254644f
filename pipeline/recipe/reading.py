"""Recipes from files and flags: read, laid over one another, and checked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ...support.errors import InputError, shown, unknown
from ...support.files import read_bytes
from ...support.yaml_values import load_yaml
from .recipe import Recipe, section_models
from .search import SearchSettings

Values = dict[str, dict[str, Any]]


def read_recipe_file(path: Path) -> Values:
    """Read the sections of a YAML recipe; the values are checked by :func:`resolve`.

    Raises:
        InputError: when the file is missing, not YAML, or not a mapping of sections.
    """
    raw = read_bytes(path, "recipe", limit=1 << 16)
    try:
        content = load_yaml(raw)
    except ValueError as error:
        raise InputError(f"recipe {str(path)!r} is {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"recipe {str(path)!r} must hold sections such as 'prune:'")
    for section, values in content.items():
        if not isinstance(values, dict):
            raise InputError(
                f"recipe {str(path)!r}: section {shown(section)} must hold keys and values"
            )
    return content


def parse_assignment(text: str) -> Values:
    """Parse ``section.key=value``, the argument of ``--set``; the value is read as YAML.

    ``section.key.name=value`` sets one value of a key that holds several.
    """
    path, equals, raw = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot or not section or not key:
        raise InputError(f"--set takes SECTION.KEY=VALUE, got {shown(text)}")
    try:
        value = load_yaml(raw)
    except ValueError:
        raise InputError(f"--set {path}: {shown(raw)} is not a valid YAML value") from None
    return {section: {key: value}}


def merge(layers: Iterable[Mapping[str, Mapping[str, Any]]]) -> Values:
    """Merge sections of values; a later layer wins over an earlier one.

    A key with a dot, such as ``search.trials``, sets one value of a mapping.
    """
    merged: Values = {}
    for layer in layers:
        for section, values in layer.items():
            target = merged.setdefault(section, {})
            for key, value in values.items():
                name, dot, inner = key.partition(".") if isinstance(key, str) else (key, "", "")
                within = target.get(name)
                outer = within if isinstance(within, Mapping) else {}
                target[name] = {**outer, inner: value} if dot else value
    return merged


def resolve(*layers: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Build the recipe from layers of values over the defaults; the last layer wins.

    Raises:
        InputError: naming the first key that is unknown or whose value breaks a rule.
    """
    values = merge(layers)
    _check_keys(values)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InputError(_first_problem(error)) from None


def _check_keys(values: Values) -> None:
    sections = section_models()
    for section, entries in values.items():
        if section not in sections:
            raise unknown("recipe section", str(section), sections)
        _check_names(section, entries, sections[section])
    search = values.get("prune", {}).get("search")
    if isinstance(search, Mapping):
        _check_names("prune.search", search, SearchSettings)


def _check_names(path: str, entries: Mapping[str, Any], section: type[BaseModel]) -> None:
    for key in entries:
        if key not in section.model_fields:
            known = [f"{path}.{name}" for name in section.model_fields]
            raise unknown("recipe key", f"{path}.{key}", known)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = problem["loc"]
    where = ".".join(str(part) for part in place[: 3 if "search" in place else 2])
    message = problem["msg"].removeprefix("Value error, ")
    message = message.replace("Input should be", "must be")
    if problem["type"] == "value_error":
        return f"{where}: {message}" if where else message
    near = ""
    if problem["type"] == "literal_error":
        known = re.findall(r"'([^']+)'", problem["ctx"]["expected"])
        match = difflib.get_close_matches(str(problem["input"]), known, n=1, cutoff=0.5)
        near = f"; did you mean {match[0]!r}?" if match else ""
    return f"{where} {message}, got {shown(problem['input'])}{near}"
