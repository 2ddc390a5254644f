"""Whether a search finds a model at least as small as ten trials by hand do.

    python benchmarks/search_demo.py --out runs/search-demo

``wfpipe search --max-accuracy-drop 1`` on the demo, and then the same job at ten sparsities that
one would try by hand. The figure is the compressed size of the chosen model over that of the
smallest hand-made one that keeps the accuracy: at most 1 is good. With --out, what is there from
an interrupted benchmark is not run again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.recipe.recipe import Recipe
from wfpipe.pipeline.runs.directory import RunDirectory
from wfpipe.pipeline.search.search import search
from wfpipe.pipeline.search.trials import run_trial
from wfpipe.support.progress import Silent

BY_HAND = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99)
DROP = 1.0


def recipe(**prune: float) -> Recipe:
    """Return the recipe of the demo with the gate; a sparsity makes it a trial by hand."""
    return resolve(
        {"export": {"variants": ["sparse-cpu"], "pick": "smallest"},
         "gates": {"max_accuracy_drop": DROP}, "prune": prune}
    )  # fmt: skip


def run(out: Path) -> None:
    """Search, try by hand, and print."""
    folder = RunDirectory(out / "search")
    begin, used = time.perf_counter(), time.process_time()
    found = search(recipe(), folder, Silent(), resume=folder.recipe.exists())
    took, used = time.perf_counter() - begin, time.process_time() - used
    cores = os.cpu_count()
    print(f"search: {len(found.trials)} trials, {took:.0f} s, {used:.0f} s of CPU, {cores} cores")
    print(f"{found.why}\n")
    print(f"{'by hand':<10}{'outcome':>10}{'accuracy':>10}{'bytes':>10}")
    sizes = []
    for number, sparsity in enumerate(BY_HAND, 1):
        trial = run_trial(
            recipe(sparsity=sparsity), RunDirectory(out / f"hand-{sparsity}"), number=number,
            value=sparsity, least=None, sparser=[], metric=found.dense, reporter=Silent(), what="",
        )  # fmt: skip
        size = trial.deflated_bytes or 0
        print(f"{sparsity:<10}{trial.outcome:>10}{trial.accuracy:>10.2f}{size:>10,}", flush=True)
        sizes += [size] if trial.outcome == "holds" else []
    assert found.chosen is not None, found.why
    assert sizes, "no sparsity by hand keeps the accuracy"
    chosen = found.trials[found.chosen - 1]
    assert chosen.deflated_bytes is not None
    print(f"search: {chosen.deflated_bytes:,} bytes, the smallest by hand: {min(sizes):,} bytes")
    print(f"figure: {chosen.deflated_bytes / min(sizes):.3f}")


def main() -> None:
    """Run in the folder that is asked for, or in one for the time of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="where the runs are kept")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(given.out or Path(folder))


if __name__ == "__main__":
    main()
