"""Everything that wfpipe does on a CUDA GPU, checked and measured in eight minutes at most.

    python benchmarks/on_gpu.py                         on the first GPU
    python benchmarks/on_gpu.py --device cpu --small    the same work at tiny sizes, as the tests do

It runs from a checkout, installed or not, with the PyTorch that is there, and says what else is
missing. Parts run one after the other in processes of their own, each within its own time; what
fails is a row with the error's line, and the rest goes on. The table is printed as Markdown for
docs/benchmarks.md, and written to ``on_gpu.json`` as ``{"rows": [{"part", "what", "value", "unit",
"error"}]}``. The figure is the share of parts in which nothing failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Any

WHOLE_S = 460.0
"""Seconds for all parts together."""
LIMITS_S = {
    "device": 40.0,
    "demo": 90.0,
    "step, fewer gradients": 70.0,
    "step, more gradients": 80.0,
    "against the CPU": 90.0,
    "training": 80.0,
    "onnx": 70.0,
    "2:4": 40.0,
    "nccl": 40.0,
}
"""Seconds that each part may take, less where those of all are used up; in the order of running."""
NEEDED = (
    "torch", "numpy", "scipy", "onnx", "onnxscript", "onnxruntime", "click", "pydantic", "rich",
    "safetensors", "PIL", "yaml", "jinja2", "cryptography", "torchmetrics",
)  # fmt: skip
"""What wfpipe imports."""

Rows = list[dict[str, Any]]


def run_part(command: Sequence[str], rows: Path, limit: float, environment: dict[str, str]) -> Rows:
    """Run a part in a process of its own; return its rows, and one more where it failed.

    Args:
        command: the process, which adds lines of JSON to ``rows``.
        rows: the file.
        limit: seconds after which it is ended, with all that it started.
        environment: of the process.
    """
    errors = rows.with_suffix(".errors")
    with errors.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, env=environment, start_new_session=True
        )
        failure = None
        try:
            code = process.wait(timeout=max(1.0, limit))
            if code:
                failure = _last_line(errors) or f"it ended with exit code {code}"
            if code < 0:
                failure = f"it was ended by {signal.Signals(-code).name}"
        except subprocess.TimeoutExpired:
            failure = f"it took longer than {limit:.0f} s and was ended"
        finally:
            _end_group(process)
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    found: Rows = [_sound(json.loads(line)) for line in lines]
    if failure is not None:
        found.append({"what": "the part", "value": None, "unit": "", "error": failure})
    return found


def _sound(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row whose value is a number, where it has one at all; JSON knows no others."""
    value = row["value"]
    if not isinstance(value, float) or isfinite(value):
        return row
    return {**row, "value": None, "error": row["error"] or f"the value is {value}"}


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(errors: Path) -> str:
    """Return the last line that a process wrote, which is that of its error."""
    lines = errors.read_text(encoding="utf-8", errors="backslashreplace").strip().splitlines()
    return lines[-1] if lines else ""


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    lines = ["| part | what | figure | unit |", "| --- | --- | --- | --- |"]
    for row in rows:
        figure = f"failed: {row['error']}" if row["error"] else _figure(row["value"])
        cells = (row["part"], row["what"], figure.replace("|", "\\|"), row["unit"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(value: float | str | None) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def share_without_failure(rows: Iterable[dict[str, Any]]) -> float:
    """Return the share of parts of which no row has an error."""
    bad: dict[str, bool] = {}
    for row in rows:
        bad[row["part"]] = bad.get(row["part"], False) or row["error"] is not None
    return list(bad.values()).count(False) / max(1, len(bad))


def measure(options: Sequence[str], home: Path) -> Rows:
    """Run all parts and return their rows; each says which part it is of.

    Args:
        options: of every part.
        home: a folder in which ``wfpipe`` is the checkout, for this and all processes it starts.
    """
    paths = [str(home), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    rows: Rows = []
    until = time.monotonic() + WHOLE_S
    for number, (part, limit) in enumerate(LIMITS_S.items()):
        print(f"{part} …", file=sys.stderr, flush=True)
        file = home / f"{number}.rows"
        command = [
            sys.executable,
            "-P",
            "-m",
            "wfpipe.benchmarks.cuda.part",
            part,
            "--rows",
            str(file),
        ]
        left = min(limit, until - time.monotonic())
        found = run_part([*command, *options], file, left, environment)
        rows += [{"part": part, **row} for row in found]
    return rows


def main() -> None:
    """Run all parts, print the table and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    asked = parser.parse_args()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        print(f"missing here, and parts that need it fail: {', '.join(missing)}")
    options = ["--device", asked.device, *(["--small"] if asked.small else [])]
    with tempfile.TemporaryDirectory(prefix="wfpipe-on-gpu-") as folder:
        Path(folder, "wfpipe").symlink_to(Path(__file__).resolve().parents[1])
        sys.path.insert(0, folder)
        from wfpipe.support.files import write_json

        rows = measure(options, Path(folder))
        write_json(Path("on_gpu.json"), {"rows": rows})
    print(table(rows))
    print(f"figure: {share_without_failure(rows):.3f}")


if __name__ == "__main__":
    main()
