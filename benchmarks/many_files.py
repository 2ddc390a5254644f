"""Opening a million images, in folders or in shards: seconds to the first batch, and memory.

    python benchmarks/many_files.py [FILES] [--shards N] [--ranks N] [--folder FOLDER]

The files are links to a few pictures of 500 × 375 pixels, in 1,000 classes; shards are links to one
of pictures of 32 × 32. They are made in FOLDER, and used again where they are there; without it
they are removed. Memory is the share of all processes together (Pss of ``/proc/PID/smaps_rollup``),
at its highest; seconds count from the start of the first process. The processor time of all of them
is what one core that does nothing else would take.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES, LINKS, WORKERS, BATCH = 1000, 30_000, 2, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=0)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--begun", type=float, help="when the first process began, for ranks")
    given = parser.parse_args()
    if given.begun is not None:
        open_and_read(given.folder, given.shards > 0, given.begun)
        return
    with _folder(given.folder) as folder:
        if not (folder / "complete").exists():
            (make_shards if given.shards else make_files)(folder, given.files, given.shards)
            (folder / "complete").touch()
        measure(given, folder)


def measure(given: argparse.Namespace, folder: Path) -> None:
    """Start the ranks, and watch the memory of all processes."""
    from wfpipe.pipeline.ranks.launch import launch

    watch = Watch()
    options = ["--folder", str(folder), "--shards", str(given.shards), "--begun", str(time.time())]
    outcome = launch(options, given.ranks, program=[__file__])
    watch.stop()
    print(f"memory of all processes at its highest: {watch.memory / 1e9:.2f} GB")
    print(f"processor time of all processes: {sum(watch.seconds.values()):.1f} s")
    if outcome.code:
        sys.exit(outcome.line or f"a rank ended with {outcome.code}")


def open_and_read(folder: Path, shards: bool, begun: float) -> None:
    """Do what a rank of a job does: open the data, and read its share of the first batches."""
    from wfpipe.pipeline.data.source import open_data
    from wfpipe.pipeline.ranks.start import join
    from wfpipe.pipeline.recipe.data import DataSettings
    from wfpipe.support.progress import Silent

    ranks, source = join(), f"wds:{folder}" if shards else str(folder)
    joined = time.time()
    settings = DataSettings(
        source=source, workers=WORKERS, augment=["resized-crop", "flip"],
        size=[36 if shards else 256], crop=[32 if shards else 224],
    )  # fmt: skip
    data = open_data(settings, seed=0, reporter=Silent(), ranks=ranks)
    opened = time.time()
    only = range(ranks.rank, ranks.rank + 2)
    next(iter(data.fisher_batches(draw=0, count=400, batch=16, only=only)))
    next(iter(data.training_batches(epoch=0, batch=BATCH).part(ranks.rank, ranks.size)))
    first = max(ranks.gather(time.time()))
    if ranks.first:
        count = len(data.train) + len(data.test)
        print(f"{count} samples, {data.classes} classes, {ranks.size} rank(s)")
        print(f"started {joined - begun:.1f} s, open {opened - begun:.1f} s")
        print(f"first batches {first - begun:.1f} s")
        print(f"figure: {first - begun:.1f}", flush=True)


class Watch:
    """Watches this process, its children and theirs, in a thread.

    ``memory`` is the most bytes that were in use at a time, ``seconds`` the processor time of each.
    """

    def __init__(self) -> None:
        self.memory, self.seconds = 0, dict[int, float]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            found = [*_descendants(os.getpid())]
            self.memory = max(self.memory, sum(map(_share, found)))
            self.seconds |= {each: spent for each in found if (spent := _spent(each)) is not None}


def _spent(process: int) -> float | None:
    """Return the processor time of a process in seconds; None where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _descendants(process: int) -> Iterator[int]:
    yield process
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        for task in Path(f"/proc/{process}/task").iterdir():
            if task.name != str(process):
                children += (task / "children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _descendants(int(child))


def _share(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def make_files(root: Path, count: int, _: int) -> None:
    """Make a folder of images, a twentieth of them for tests."""
    random = np.random.default_rng(0)
    for number in range(count):
        if number % LINKS == 0:
            picture = root / f"{number}.jpg"
            Image.fromarray(random.integers(0, 256, (375, 500, 3), np.uint8)).save(picture)
        part = "test" if number % 20 == 0 else "train"
        folder = root / part / f"class{number // 20 % CLASSES:04d}"
        if number < 40 * CLASSES:
            folder.mkdir(parents=True, exist_ok=True)
        os.link(picture, folder / f"{number}.jpg")


def make_shards(root: Path, count: int, shards: int) -> None:
    """Make shards, a twentieth of them for tests."""
    random, size = np.random.default_rng(0), count // shards
    with tarfile.open(root / "one.tar", "w") as archive:
        for number in range(size):
            stream = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(stream, "jpeg")
            for suffix, content in (("jpg", stream.getvalue()), ("cls", b"%d" % (number % 1000))):
                member = tarfile.TarInfo(f"{number:08d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    for number in range(shards):
        part = "test" if number % 20 == 0 else "train"
        os.link(root / "one.tar", root / f"{part}-{number:05d}.tar")


if __name__ == "__main__":
    main()
