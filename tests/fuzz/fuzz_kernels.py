"""Feed the sparse kernels mutated models, as many as asked: they must touch nothing but their own.

    python tests/fuzz/fuzz_kernels.py --count 100000 --seed 1
    python tests/fuzz/fuzz_kernels.py --seed 1 --only 4711      one model again, as it was

The library is compiled with the sanitizers for addresses and undefined behaviour, and worker
processes open and run every model with it in ONNX Runtime, without the checks of wfpipe before. A
failure is a report of a sanitizer, a crash, 10 s of work without an end, or memory out of
proportion; also a model that the checks of wfpipe let pass and the kernels refuse. Each failure is
printed, and its model kept in the folder of --failures. The last line is the number of failures.
Each batch of 2000 models runs another processor path. Needs Linux and g++.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random

import numpy as np
import onnxruntime as ort

from wfpipe.exporters.reading.package_model import parse_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.kernel_samples import kernel_models
from wfpipe.tests.exporters.runtime.library import COMPILER, kernels
from wfpipe.tests.fuzz.driver import BATCH, add_arguments, drive, plan_of
from wfpipe.tests.fuzz.mutate_kernels import mutate_kernel_model

PATHS = ("baseline", "avx2", "wide", "avx512", "neon")  # those that a processor lacks: its best
MOST_VALUES = 1 << 20  # of an input
MEMORY_MB = 2000  # of a worker
_SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024:"
    f"hard_rss_limit_mb={MEMORY_MB}:malloc_context_size=4:quarantine_size_mb=32",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}
_OF_KERNELS = re.compile(r"wfpipe (\w+): (.*)")
_OF_THE_PROCESSOR = re.compile(r"too (large|many parts)|^out of memory")


def main() -> int:
    """Parse the arguments; run as the parent, or as a worker."""
    whole = __doc__ or ""
    parser = argparse.ArgumentParser(
        description=whole.partition("\n\n")[0],
        epilog=whole.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--library", type=Path, help="one that is compiled so (default: made)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.library, arguments.seed)
        return 0
    library = (arguments.library or kernels(sanitize=True)).resolve()
    command = [sys.executable, __file__, "--worker", "--seed", str(arguments.seed), "--library"]
    given = arguments.library and shutil.which(COMPILER[0]) is None  # without sanitizers
    preloaded = "" if given else f"{_runtime('libasan.so')}:{_runtime('libstdc++.so')}"
    plan = plan_of(
        arguments,
        command=lambda first, folder: [*command, str(library)],
        environment=lambda first: {
            **_SANITIZERS,
            "LD_PRELOAD": preloaded,
            "WFPIPE_KERNELS": PATHS[first // BATCH % len(PATHS)],
        },
        keep=partial(keep, arguments.seed, Path(arguments.failures).resolve()),
    )
    return 1 if drive(plan) else 0


def _runtime(name: str) -> str:
    """Return where the compiler has a library that must be loaded before all others."""
    done = subprocess.run(
        [*COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    return str(Path(done.stdout.strip()).resolve())


def make(seed: int, number: int) -> bytes:
    """Make a model from the seed and its number alone."""
    rng = Random(f"{seed}:{number}")
    return mutate_kernel_model(rng.choice(kernel_models()), rng)


def keep(seed: int, folder: Path, number: int) -> None:
    """Make a model once more and keep it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{seed}-{number}-kernels.onnx").write_bytes(make(seed, number))


def work(library: Path, seed: int) -> None:
    """Open and run models by number from standard input, and answer on standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is no answer
    ort.set_default_logger_severity(4)

    def say(answer: str) -> None:
        answers.write(f"{answer}\n")
        answers.flush()

    say("ready")
    for line in sys.stdin:
        content = make(seed, int(line))
        say(f"path {os.environ['WFPIPE_KERNELS']}")
        say(json.dumps(run(content, library)))


def run(content: bytes, library: Path) -> str | None:
    """Open and run a model with the kernels; return what is wrong, or None."""
    refusal = _reason(lambda: _run(open_session(content, library)))
    found = _OF_KERNELS.search(refusal)
    if not found or _OF_THE_PROCESSOR.search(found[2]):
        return None
    try:
        parse_model(content, "model")
    except InputError:
        return None
    opened = not _reason(lambda: open_session(content, library))
    return None if opened else f"the checks let pass what the kernels refuse: {found[0][:300]}"


def _reason(action: Callable[[], object]) -> str:
    """Return why an action fails, or nothing."""
    try:
        action()
    except Exception as error:  # ONNX Runtime's exceptions have no common base but this
        return str(error)
    return ""


@cache
def _options(library: Path) -> ort.SessionOptions:
    """Return options with which every tensor is an allocation of its own, which is watched."""
    options = ort.SessionOptions()
    options.register_custom_ops_library(str(library))
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.enable_mem_reuse = False
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options


def open_session(content: bytes, library: Path) -> ort.InferenceSession:
    """Open a model with the kernels alone, unchecked before."""
    options = _options(library)
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(session: ort.InferenceSession) -> None:
    """Run a session on inputs of the shapes that it says."""
    feeds = {}
    for each in session.get_inputs():
        shape = [size if isinstance(size, int) else 2 for size in each.shape]
        if each.type != "tensor(float)" or np.prod(shape, dtype=float) > MOST_VALUES:
            return
        feeds[each.name] = np.ones(shape, np.float32)
    session.run(None, feeds)


if __name__ == "__main__":
    sys.exit(main())
