from __future__ import annotations

import pytest

from wfpipe.pipeline.recipe.reading import parse_assignment, read_recipe_file, resolve
from wfpipe.support.errors import InputError


def test_later_layers_win():
    recipe = resolve({"prune": {"sparsity": 0.5, "steps": 2}}, {"prune": {"sparsity": 0.7}})
    assert (recipe.prune.sparsity, recipe.prune.steps) == (0.7, 2)


def test_a_key_with_a_dot_sets_one_value_of_a_mapping():
    recipe = resolve(
        {"prune": {"search": {"target_macs": 0.5, "trials": 3}}},
        parse_assignment("prune.search.trials=7"),
    )
    assert recipe.prune.search is not None
    assert (recipe.prune.search.target_macs, recipe.prune.search.trials) == (0.5, 7)
    recipe = resolve({}, parse_assignment("prune.search.trials=7"))
    assert recipe.prune.search is not None
    assert recipe.prune.search.target_macs is None
    with pytest.raises(InputError, match=r"unknown recipe key 'prune.sparsty'"):
        resolve(parse_assignment("prune.sparsty.x=1"))
    with pytest.raises(InputError, match=r"prune.sparsity must be a valid number"):
        resolve(parse_assignment("prune.sparsity.x=1"))


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
