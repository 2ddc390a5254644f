"""The page of each task: what it makes and runs is taken by its command, as far as to the network's
first outputs and the weights that would be pruned."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import wfpipe
from wfpipe.cli.options import layers
from wfpipe.cli.prune_and_export import command
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.recipe.task import TASKS
from wfpipe.pipeline.stages.opening import open_parts
from wfpipe.pipeline.tasks.registry import open_task
from wfpipe.support.progress import Silent

PAGES = Path(wfpipe.__file__).parent / "docs" / "tasks"


def prepared(page: str, folder: Path) -> list[list[str]]:
    """Write and run the Python of a page in a folder; return the arguments of its commands."""
    text = (PAGES / f"{page}.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        first = code.partition("\n")[0]
        if first.endswith(".py"):
            (folder / first.removeprefix("# ")).write_text(code)
        elif "np.savez" in code:
            exec(code, {})
    blocks = re.findall(r"\n    wfpipe prune-and-export ((?:.*\\\n)*.*)\n", text)
    return [shlex.split(block.replace("\\\n", " ")) for block in blocks]


@pytest.mark.parametrize("page", [*TASKS, "own"])
def test_the_commands_of_a_page_are_taken(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = prepared(page, tmp_path)
    assert commands
    for arguments in commands:
        options = command.make_context("prune-and-export", arguments).params
        _, flags = layers(options)
        recipe = resolve(flags)
        assert recipe.task.kind == (page if page in TASKS else "boxes.py:Boxes")
        if Path(recipe.data.source.partition(":")[0]).is_file():
            parts = open_parts(recipe, tmp_path, Silent())
            assert parts.weights


def test_each_page_names_the_metrics_of_its_task() -> None:
    for name in TASKS:
        task = open_task(resolve({"task": {"kind": name}}).task)
        text = (PAGES / f"{name}.md").read_text()
        assert all(f"`{metric}`" in text for metric in task.metrics)
        assert f"tasks/{name}.md" in (PAGES.parent / "tasks.md").read_text()
