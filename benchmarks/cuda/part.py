"""One part of ``on_gpu.py``, in a process of its own.

    python -m wfpipe.benchmarks.cuda.part NAME --rows FILE [--device cpu] [--small]

It adds a line of JSON to FILE for each row. On the CPU, and at small sizes, it does the same work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path

from wfpipe.benchmarks.cuda.sizes import SMALL, Row, Sizes

PARTS = {
    "device": "whole:device",
    "demo": "whole:demo",
    "step, fewer gradients": "steps:fewer_gradients",
    "step, more gradients": "steps:more_gradients",
    "against the CPU": "steps:against_cpu",
    "training": "training:training",
    "onnx": "libraries:in_onnx_runtime",
    "2:4": "libraries:two_four",
    "nccl": "libraries:process_group",
}
"""What yields the rows of a part; modules are imported when they are needed."""


def rows_of(part: str, sizes: Sizes) -> Iterator[Row]:
    """Do the work of a part."""
    module, _, name = PARTS[part].partition(":")
    yield from getattr(import_module(f"wfpipe.benchmarks.cuda.{module}"), name)(sizes)


def main() -> None:
    """Run one part, and add its rows to a file as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    sizes = replace(SMALL if asked.small else Sizes(), device=asked.device)
    with asked.rows.open("a", encoding="utf-8") as file:
        for row in rows_of(asked.part, sizes):
            print(json.dumps(asdict(row)), file=file, flush=True)


if __name__ == "__main__":
    main()
