"""What happened in a run, step by step, as its ``log.jsonl`` tells it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ...support.errors import InputError
from ...support.files import read_bytes

LOG_FILE = "log.jsonl"
MAX_LOG_BYTES = 4 << 20  # some 10,000 epochs: a heuristic


class Event(BaseModel):
    """A line of the log, with the figures that a page shows; other keys are left alone.

    Accuracies are in percent, metrics of other tasks in their own unit, sparsities in [0, 1],
    losses in nats. A figure may be NaN or infinite, as a prediction is at times.
    """

    model_config = ConfigDict(frozen=True)

    event: str
    step: int | None = None
    epoch: int | None = None
    sparsity: float | None = None
    accuracy: float | None = None
    accuracy_before: float | None = None
    metric: float | None = None
    metric_before: float | None = None
    predicted_loss_increase: float | None = None
    measured_loss_increase: float | None = None


def read_log(folder: Path) -> list[Event]:
    """Return the events in the log of a run; none where there is no log.

    Raises:
        InputError: when a line is not an event, naming the line.
    """
    path = folder / LOG_FILE
    if not path.exists():
        return []
    what = f"log {str(path)!r}"
    events = []
    for number, line in enumerate(read_bytes(path, "log", limit=MAX_LOG_BYTES).splitlines(), 1):
        if not line.strip():
            continue
        try:
            events.append(Event.model_validate_json(line))
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            rule = " ".join(problem["msg"].split())
            raise InputError(
                f"{what}: line {number}: {where + ': ' if where else ''}{rule}"
            ) from None
    return events
