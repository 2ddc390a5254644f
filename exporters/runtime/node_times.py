"""Times of the nodes of models, noted by ONNX Runtime while they run in alternation."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from ...support.errors import InputError
from ..measuring.session import SessionSettings, open_session, reason

Array = np.ndarray[Any, Any]

WARM_UP = 3
_SUFFIX = "_kernel_time"


@dataclass(frozen=True)
class NodeTime:
    """A node that ran: its name and operator, as the runtime calls them, and milliseconds."""

    name: str
    operator: str
    milliseconds: float


def time_nodes(
    models: Mapping[str, ModelProto],
    feeds: Mapping[str, Mapping[str, Array]],
    settings: SessionSettings,
    *,
    rounds: int,
    on_round: Callable[[], None] = lambda: None,
) -> dict[str, list[NodeTime]]:
    """Run models in alternation and return the time of each of their nodes, in order of running.

    The time of a node is the mean of the faster half of its runs: what disturbs the machine for
    a while lies in the other half.

    Args:
        models: by name.
        feeds: the inputs of each, by its name and theirs.
        settings: how the sessions are opened.
        rounds: runs of each model that count.
        on_round: called after each round.

    Raises:
        InputError: when a model cannot be opened or run.
    """
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        sessions = {}
        for number, (name, model) in enumerate(models.items()):
            path = Path(folder) / f"{number}.onnx"
            path.write_bytes(model.SerializeToString())
            profile = replace(settings, profile=Path(folder) / str(number))
            sessions[name] = open_session(path, profile)
        for _ in range(WARM_UP + rounds):
            for name, session in sessions.items():
                _run(session, feeds[name])
            on_round()
        return {name: _read(session) for name, session in sessions.items()}


def _run(session: ort.InferenceSession, feed: Mapping[str, Array]) -> None:
    try:
        session.run(None, dict(feed))
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        raise InputError(f"a model to be timed does not run: {reason(error)}") from None


def _read(session: ort.InferenceSession) -> list[NodeTime]:
    events = json.loads(Path(session.end_profiling()).read_bytes())
    times: dict[str, list[float]] = defaultdict(list)
    operators: dict[str, str] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            name = event["name"].removesuffix(_SUFFIX)
            times[name].append(event["dur"] / 1000)
            operators[name] = event["args"]["op_name"]
    return [
        NodeTime(name, operators[name], _faster_half(runs[WARM_UP:] or runs))
        for name, runs in times.items()
    ]


def _faster_half(times: list[float]) -> float:
    return float(np.mean(sorted(times)[: (len(times) + 1) // 2]))
