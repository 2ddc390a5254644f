from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from wfpipe.pipeline.data.source import open_data
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.steps.setup import find_weights, set_up
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent


class Warnings(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, text: str) -> None:
        self.lines.append(text)

    say = warn


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3),
        nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def opened(reporter=None, **values):
    settings = resolve({"prune": values}).prune
    module = network()
    data = open_data(resolve({}).data, seed=0, reporter=Silent())
    weights = find_weights(module, settings, reporter or Silent())
    return set_up(module, weights, data, settings, place("cpu"), Path()), weights


def test_layers_that_n_m_does_not_fit_stay_dense_and_are_named():
    reporter = Warnings()
    _, weights = opened(reporter, pattern="2:4")
    assert list(weights) == ["2.weight", "4.weight"]
    assert reporter.lines == [
        "prunable: 1,008 of 1,264 weights, in 2 tensors",
        "  stays dense: 0.weight (72), 8.weight (160): prune.exclude",
        "  stays dense: 6.weight (24): pattern 2:4 does not divide its input channels",
    ]
    with pytest.raises(InputError, match="pattern 3:7 fits no layer"):
        opened(pattern="3:7")


def test_overrides_are_given_by_name_and_the_last_wins():
    setup, _ = opened(sparsity=0.48, layers={"[24].*": 0.7, "4.weight": 0.2})
    assert setup.method.limits.overrides == {"2.weight": 0.7, "4.weight": 0.2}


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"layers": {"nothing.*": 0.5}}, "'nothing.*' matches none of the weights"),
        ({"layers": {"*": 0.5}, "sparsity": 0.9}, "sparsity must be in"),
        ({"min_kept": 0.5, "sparsity": 0.9}, "sparsity must be in"),
        ({"allocation": "flops", "max_macs": 0.001}, "max_macs must be in"),
        ({"fisher_memory": "10KiB"}, "prune.fisher_memory"),
        ({"fisher_memory": "many"}, "prune.fisher_memory must be a size"),
        ({"criterion": "kfac", "fisher_memory": "10KiB"}, "the factors of kfac need"),
    ],
)
def test_what_cannot_be_met_is_refused_before_work_starts(values, line):
    with pytest.raises(InputError, match=line.replace("*", r"\*")):
        opened(**values)


def test_a_refused_budget_names_one_that_is_enough():
    with pytest.raises(InputError) as refused:
        opened(fisher_memory="10KiB")
    words = str(refused.value).split()
    sizes = [f"{n}{u}" for n, u in pairwise(words) if u.strip(",;:") == "MiB"]
    smallest = sizes[-1].strip(",;:")
    plan = opened(fisher_memory=smallest)[0].plan
    assert plan is not None


def test_kfac_names_a_layer_that_it_has_no_form_for():
    settings = resolve({"prune": {"criterion": "kfac"}}).prune
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 2, 3), nn.Flatten(), nn.Linear(128, 10)
    )
    data = open_data(resolve({}).data, seed=0, reporter=Silent())
    weights = find_weights(module, settings, Silent())
    with pytest.raises(InputError, match=r"transposed convolutions: put 1\.weight"):
        set_up(module, weights, data, settings, place("cpu"), Path())


def test_criteria_without_gradients_need_no_plan():
    assert opened(criterion="magnitude")[0].plan is None
    assert opened(criterion="woodfisher")[0].plan is not None


def test_costs_count_the_operations_of_one_sample():
    setup, _ = opened(allocation="flops", sparsity=0.5)
    assert setup.method.limits.costs == {"2.weight": 16, "4.weight": 4, "6.weight": 4}
    first, last = 36 * 72, 160
    assert setup.method.limits.fixed_macs == first + last


def test_a_relative_damping_takes_the_place_of_the_absolute_one():
    fisher = opened(relative_damping=0.1)[0].method.fisher
    assert (fisher.damping, fisher.relative) == (0.1, True)
