"""One disturbance each: a disk that is full, a rank that hangs, a file that vanishes.

Each must end the job within a minute with a line that names rank and cause, leave no process, and
let the job go on to the bits of one that nothing disturbed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from wfpipe.pipeline.data.randomness import permutation, stream
from wfpipe.tests.chaos.jobs import (
    END_S,
    JOB,
    Begin,
    Started,
    children,
    continued,
    history,
    wait_for_end,
)
from wfpipe.tests.chaos.kills import differing, leftovers, torn, undisturbed

DISK_BYTES = 8 << 20
EPOCHS, IMAGES = 6, 200
OF_IMAGES = [
    "prune", "--device", "cpu", "--epochs", str(EPOCHS), "--set", "prune.steps=1", "--set",
    "prune.gradients=8", "--set", "data.batch=200", "--set", "data.augment=resized-crop",
]  # fmt: skip
"""Images are read anew in each epoch where they are cropped."""


def run_until(begin: Begin, job: Sequence[str], run: Path, events: int) -> Started:
    """Start a job and return it once so many events of it are written.

    Raises:
        AssertionError: with its output, when it ends before.
    """
    process = begin(continued(job, run))
    while len(history(run)) < events:
        assert process.poll() is None, process.end(1)
        time.sleep(0.002)
    return process


def ended(process: Started, code: int, words: Sequence[str]) -> str:
    """Wait for the end of a job; return what it said and how long it took.

    Raises:
        AssertionError: when it takes longer than a minute, ends with another code or without the
            words in one line, or leaves a process.
    """
    begin = time.monotonic()
    found, errors = process.end(END_S)
    seconds = time.monotonic() - begin
    lines = [line for line in errors.splitlines() if all(word in line for word in words)]
    assert found == code, (found, errors)
    assert lines, errors
    assert wait_for_end(process.session, END_S) == []
    return f"after {seconds:.1f} s, exit code {found}: {lines[0]}"


def goes_on(begin: Begin, job: Sequence[str], run: Path, whole: Path) -> str:
    """Continue a job to its end, and compare it with one that nothing disturbed."""
    assert torn(run) == []
    undisturbed(begin, job, run)
    assert differing(run, whole) == []
    assert leftovers(run) == []
    return "continued to the bits of the undisturbed run"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Give a folder on a disk of its own, of 8 MiB; only root can mount one."""
    folder.mkdir()
    size = f"size={DISK_BYTES}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(begin: Begin, folder: Path) -> str:
    """Fill the disk of the run directory after the first prune step."""
    undisturbed(begin, JOB, folder / "whole")
    with small_disk(folder / "disk") as disk:
        run = disk / "run"
        process = run_until(begin, JOB, run, 2)
        filler = disk / "filler"
        with filler.open("wb") as file:
            _fill(file.fileno())
        line = ended(process, 2, ["rank", "No space left on device"])
        filler.unlink()
        return f"{line}\n{goes_on(begin, JOB, run, folder / 'whole')}"


def _fill(handle: int) -> None:
    """Write until the disk takes no more byte."""
    for size in (1 << 16, 1 << 9, 1):
        while True:
            try:
                os.write(handle, b"\0" * size)
            except OSError:
                break


def hang(begin: Begin, folder: Path) -> str:
    """Stop each rank in turn for good, while the first epoch or what follows goes on."""
    undisturbed(begin, JOB, folder / "whole")
    found = []
    for rank in (1, 0):
        run = folder / f"run-{rank}"
        process = run_until(begin, JOB, run, 2)
        os.kill(children(process.pid)[rank], signal.SIGSTOP)
        found.append(ended(process, 1, [f"rank {rank} (", "has not been heard of"]))
        found.append(goes_on(begin, JOB, run, folder / "whole"))
    return "\n".join(found)


def vanish(begin: Begin, folder: Path) -> str:
    """Remove an image that rank 1 reads in every epoch, as training begins."""
    images, job = write_images(folder / "images"), of_images(folder)
    undisturbed(begin, job, folder / "whole")
    run, victim = folder / "run", images[rank_one_reads(len(images))]
    process = run_until(begin, job, run, 2)
    aside = victim.rename(folder / "aside.png")
    line = ended(process, 2, ["rank 1: ", str(victim), "No such file"])
    aside.rename(victim)
    return f"{line}\n{goes_on(begin, job, run, folder / 'whole')}"


def of_images(folder: Path) -> list[str]:
    """Return a job on the images in a folder of another one."""
    return [*OF_IMAGES, "--data", str(folder / "images")]


def write_images(folder: Path) -> list[Path]:
    """Write ten classes of small images and return those to train on, as they are numbered."""
    random = np.random.default_rng(0)
    for part, count in (("train", IMAGES // 10), ("test", 1)):
        for label in range(10):
            where = folder / part / str(label)
            where.mkdir(parents=True)
            for number in range(count):
                values = random.integers(256, size=(8, 8), dtype=np.uint8)
                Image.fromarray(values).save(where / f"{number}.png")
    return sorted((folder / "train").glob("*/*.png"))


def rank_one_reads(images: int) -> int:
    """Return the first image that rank 1 of 2 reads in all epochs."""
    shares = [
        set(permutation(stream(0, "order", epoch), images)[images // 2 :].tolist())
        for epoch in range(EPOCHS)
    ]
    return int(min(set.intersection(*shares)))


SCENARIOS: dict[str, Callable[[Begin, Path], str]] = {
    "full-disk": full_disk,
    "hang": hang,
    "vanish": vanish,
}
"""What disturbs a job; each returns what came of it."""
