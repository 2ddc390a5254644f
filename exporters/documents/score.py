"""A metric of a model: its value, its unit, and which way is better."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_MOST = 2.0**62
Number = Annotated[float, Field(ge=-_MOST, le=_MOST)]

ACCURACY = "accuracy"


class Score(BaseModel):
    """What a metric measured on the test split; ``low`` and ``high`` are its 95 % interval."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: Number
    unit: Literal["%", ""] = Field(default="%", description="%: a share; empty: a plain number")
    higher_is_better: bool = True
    low: Number | None = None
    high: Number | None = None

    @property
    def is_share(self) -> bool:
        """Whether it is a share, in percent."""
        return self.unit == "%"

    def text(self) -> str:
        """Return the value with its unit.

        >>> Score(value=81.2).text(), Score(value=0.01234, unit="").text()
        ('81.20 %', '0.01234')
        """
        return shown(self.value, self.unit)

    def loss(self, dense: Score) -> float:
        """Return by how much it is worse than ``dense``, in its unit; negative where better.

        >>> Score(value=0.5, unit="", higher_is_better=False).loss(Score(value=0.25, unit=""))
        0.25
        """
        change = self.value - dense.value
        return -change if self.higher_is_better else change

    def change(self, dense: Score) -> str:
        """Return the difference to ``dense`` with its sign and unit.

        >>> Score(value=80).change(Score(value=81.5))
        '-1.50 points'
        """
        change = self.value - dense.value
        return f"{change:+.2f} points" if self.is_share else f"{change:+.4g}"

    def gap(self, other: Score) -> str:
        """Return the difference to another without its sign."""
        return self.change(other)[1:]

    def same(self, other: Score) -> bool:
        """Whether no difference would be shown."""
        change = abs(self.value - other.value)
        return round(change, 2) == 0 if self.is_share else float(f"{change:.4g}") == 0

    def overlaps(self, other: Score) -> bool:
        """Whether the 95 % intervals overlap; False where one is not known."""
        ends = (self.low, self.high, other.low, other.high)
        if None in ends:
            return False
        low, high, other_low, other_high = (end for end in ends if end is not None)
        return low <= other_high and other_low <= high

    def interval(self) -> str:
        """Return the 95 % interval; nothing where it is not known."""
        if self.low is None or self.high is None:
            return ""
        return f"{shown(self.low, self.unit).removesuffix(' %')} to {shown(self.high, self.unit)}"


def shown(value: float, unit: str) -> str:
    """Return a value of a metric with its unit."""
    return f"{value:.2f} %" if unit == "%" else f"{value:.4g}"


def in_words(name: str) -> str:
    """Return the name of a metric as it is read.

    >>> in_words("mean_iou"), in_words("f1")
    ('mean intersection over union', 'F1')
    """
    return _WORDS.get(name, name.replace("_", " "))


_WORDS = {
    "mean_iou": "mean intersection over union",
    "f1": "F1",
    "mean_average_precision": "mean average precision",
    "mean_absolute_error": "mean absolute error",
    "r2": "R²",
    "top5_accuracy": "top-5 accuracy",
}
