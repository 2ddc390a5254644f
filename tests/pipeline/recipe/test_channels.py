from __future__ import annotations

from typing import Any

import pytest

from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.support.errors import InputError


def settings(**values: Any) -> Any:
    return resolve({"prune": {"pattern": "channel", **values}})


def test_half_of_the_macs_is_left_unless_said_otherwise_and_layers_are_refitted():
    prune = settings().prune
    assert (prune.sparsity, prune.max_macs, prune.final_sparsity) == (None, 0.5, 0.5)
    assert (prune.update, prune.exclude) == ("refit", [])


def test_a_search_for_macs_begins_with_what_it_is_for():
    assert settings(search={"target_macs": 0.7}).prune.max_macs == 0.7
    assert settings(search={"target_macs": 0.7}, max_macs=0.6).prune.max_macs == 0.6
    assert settings(search={"target_macs": None}).prune.max_macs == 0.5


def test_sparsity_stands_in_for_macs():
    prune = settings(sparsity=0.7).prune
    assert (prune.sparsity, prune.max_macs, prune.final_sparsity) == (0.7, None, 0.7)


@pytest.mark.parametrize(
    "values", [{}, {"max_macs": 0.3}, {"sparsity": 0.4}, {"then": "2:4"}, {"preset": "oneshot"}]
)
def test_recipe_that_is_written_is_read_as_the_same(values):
    recipe = settings(**values)
    assert resolve(recipe.to_dict()) == recipe


def test_target_of_time_is_left_to_a_search_and_plans_no_kernels():
    recipe = settings(target_speedup=2)
    assert (recipe.prune.allocation, recipe.prune.max_macs) == ("global", 0.5)
    assert recipe.export == settings().export


def test_second_pattern_has_settings_of_its_own():
    assert settings(then="2:4").prune.afterwards().sparsity == 0.5
    later = settings(then="unstructured", then_sparsity=0.8, channel_multiple=4).prune.afterwards()
    assert (later.pattern, later.sparsity, later.max_macs) == ("unstructured", 0.8, None)
    assert (later.channel_multiple, later.then, later.update) == (8, None, "refit")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"max_macs": 0.5, "sparsity": 0.5}, "takes one of max_macs"),
        ({"update": "joint"}, "update=none or refit, got joint"),
        ({"criterion": "kfac"}, "got kfac"),
        ({"swaps": 2}, "swaps"),
        ({"layers": {"a": 0.5}}, "takes no layers"),
        ({"regrow": True}, "takes no regrow"),
        ({"then": "unstructured"}, "needs then_sparsity"),
        ({"then": "2:4", "then_sparsity": 0.5}, "leave then_sparsity out"),
        ({"then": "channel"}, "then must be"),
        ({"then_sparsity": 0.5}, "then_sparsity needs then"),
        ({"pattern": "2:4", "channel_multiple": 4}, "channel_multiple needs pattern=channel"),
        ({"pattern": "2:4", "channel_least": 8}, "channel_least needs pattern=channel"),
        ({"pattern": "unstructured", "then": "2:4"}, "then needs pattern=channel"),
        ({"pattern": "unstructured", "max_macs": 0.5}, "max_macs needs allocation=flops"),
    ],
)
def test_what_contradicts_itself_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        settings(**values)
