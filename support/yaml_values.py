"""YAML from elsewhere, read as plain values."""

from __future__ import annotations

from typing import Any

import yaml

_LONGEST_NUMBER = 100  # characters
_NUMBERS = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}


class _Loader(yaml.SafeLoader):
    """A loader that refuses aliases: a few of them, nested, stand for more than fits in memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"it uses an alias on line {mark.line + 1}: write the value out")
        return super().compose_node(parent, index)

    def construct_scalar(self, node: Any) -> Any:
        """Return a value's text; a number of thousands of digits takes a while to become one."""
        if node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(
                f"a number on line {line} has {len(node.value)} characters: the limit is "
                f"{_LONGEST_NUMBER}"
            )
        return super().construct_scalar(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping; a key that is there twice would silently win over the first."""
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"a key is there twice in what begins on line {line}")
        return found


def load_yaml(raw: str | bytes) -> Any:
    """Return the content of a YAML document of plain values, without anchors' aliases.

    Raises:
        ValueError: when it is not such a document; the message says where, if that is known.
    """
    try:
        return yaml.load(raw, _Loader)
    except Exception as error:  # besides its own errors, whatever a malformed value leads to
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark is not None else ""
        told = f": {error}" if type(error) is yaml.YAMLError else where
        raise ValueError(f"not valid YAML{told}") from None
