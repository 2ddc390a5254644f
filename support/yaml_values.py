"""YAML from elsewhere, read as plain values."""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """A loader that refuses aliases: a few of them, nested, stand for more than fits in memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.YAMLError(f"it uses an alias on line {mark.line + 1}: write the value out")
        return super().compose_node(parent, index)


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
