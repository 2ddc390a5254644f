from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.pipeline.pruning.tensors.prunables import (
    Axes,
    find_prunables,
    input_axes,
    layers_without_parameter,
    sort_weights,
)
from wfpipe.pipeline.pruning.tensors.uses import Uses


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv1d(2, 2, 1), nn.Linear(2, 4), nn.Linear(4, 3)
    )


def test_conv_and_linear_weights_are_prunable_and_nothing_else():
    assert list(find_prunables(network())) == ["0.weight", "2.weight", "3.weight", "4.weight"]


def test_first_convolution_and_last_linear_can_be_named():
    found = find_prunables(network(), exclude=["first-conv", "last-linear"])
    assert list(found) == ["2.weight", "3.weight"]


def test_patterns_select_by_name():
    assert list(find_prunables(network(), include=["[23].*"], exclude=["3*"])) == ["2.weight"]


def test_shared_weights_appear_once():
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    module["b"].weight = module["a"].weight
    assert list(find_prunables(module)) == ["a.weight"]


def test_a_pattern_that_matches_nothing_is_named():
    with pytest.raises(ValueError, match=r"layer9\.\*.*0\.weight"):
        find_prunables(network(), include=["layer9.*"])


def test_excluding_everything_is_refused():
    with pytest.raises(ValueError, match="no weight is left"):
        find_prunables(nn.Linear(2, 2), exclude=["last-linear"])


def test_frozen_weights_are_prunable_like_others():
    module = network()
    module.get_parameter("2.weight").requires_grad_(False)
    assert "2.weight" in find_prunables(module)


def test_weights_of_recurrent_bilinear_and_attention_layers_are_prunable():
    module = nn.ModuleDict(
        {
            "lstm": nn.LSTM(3, 4, bidirectional=True),
            "cell": nn.GRUCell(3, 4),
            "attention": nn.MultiheadAttention(4, 2, kdim=6),
            "bilinear": nn.Bilinear(2, 3, 4),
        }
    )
    assert list(find_prunables(module)) == [
        "lstm.weight_ih_l0", "lstm.weight_hh_l0",
        "lstm.weight_ih_l0_reverse", "lstm.weight_hh_l0_reverse",
        "cell.weight_ih", "cell.weight_hh",
        "attention.q_proj_weight", "attention.k_proj_weight", "attention.v_proj_weight",
        "attention.out_proj.weight", "bilinear.weight",
    ]  # fmt: skip


def test_an_embedding_and_what_shares_its_table_stay_dense_unless_named_in_full():
    module = nn.ModuleDict({"words": nn.Embedding(9, 4), "a": nn.Linear(4, 4)})
    module["head"] = nn.Linear(4, 9)
    module["head"].weight = module["words"].weight
    found = sort_weights(module)
    assert list(found.weights) == ["a.weight"]
    assert list(found.dense) == ["words.weight"]
    for name in ("words.weight", "head.weight"):
        for exclude in ([], ["last-linear"]):
            pruned = find_prunables(module, ["*", name], exclude)
            assert list(pruned) == ["words.weight", "a.weight"]
    assert list(find_prunables(module, exclude=["last-linear"])) == ["a.weight"]


def test_what_the_network_does_with_weights_decides():
    module = nn.ModuleDict({name: nn.Linear(4, 4) for name in "abc"})
    module.register_parameter("own", nn.Parameter(torch.zeros(4, 4)))
    uses = Uses({"a.weight": 1, "own": 0}, frozenset(["b.weight"]), seen=frozenset(["b.weight"]))
    found = sort_weights(module, uses=uses)
    assert list(found.weights) == ["own", "a.weight"]
    assert "computed from it" in found.dense["b.weight"]
    assert "does not use it" in found.dense["c.weight"]
    assert input_axes(module, found.weights, uses) == {"own": Axes(0), "a.weight": Axes(1)}


def test_layers_with_computed_weights_are_told_apart():
    module = network()
    nn.utils.parametrizations.weight_norm(module.get_submodule("2"))
    assert layers_without_parameter(module) == ["2"]
    assert "2.weight" not in find_prunables(module)


def test_input_channels_are_axis_1_and_axis_0_in_transposed_convolutions():
    module = nn.ModuleDict(
        {
            "linear": nn.Linear(2, 3),
            "grouped": nn.Conv1d(4, 6, 1, groups=2),
            "transposed": nn.ConvTranspose2d(4, 6, 1, groups=2),
        }
    )
    axes = input_axes(module, find_prunables(module))
    assert axes == {
        "linear.weight": Axes(1, 1),
        "grouped.weight": Axes(1, 2),
        "transposed.weight": Axes(0, 2),
    }
    assert input_axes(nn.Linear(2, 2), ["weight"]) == {"weight": Axes()}
