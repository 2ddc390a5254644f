"""From the pattern's name in a recipe to the pattern that the mathematics takes."""

from __future__ import annotations

from ..pruning.choice.pattern import Pattern
from ..recipe.pattern import parse_pattern


def pattern_of(text: str) -> Pattern:
    """Return the pattern that ``text`` names.

    Raises:
        ValueError: naming the text and the rule that it breaks.
    """
    return Pattern(text, *parse_pattern(text))
