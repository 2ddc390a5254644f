from __future__ import annotations

import pytest

from wfpipe.pipeline.recipe.reading import parse_assignment, read_recipe_file, resolve
from wfpipe.support.errors import InputError


def test_later_layers_win():
    recipe = resolve({"prune": {"sparsity": 0.5, "steps": 2}}, {"prune": {"sparsity": 0.7}})
    assert (recipe.prune.sparsity, recipe.prune.steps) == (0.7, 2)


@pytest.mark.parametrize("text", ["sparsity=0.9", "prune.sparsity", "prune.=1", "prune.block=[1"])
def test_assignments_that_are_none_are_refused(text):
    with pytest.raises(InputError, match="--set"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"prune: [", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"just words", "must hold sections"),
        (b"prune: 3", "section 'prune' must hold keys"),
        (b"!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_files_that_are_no_recipe_are_refused(tmp_path, content, message):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_recipe_file(path)
