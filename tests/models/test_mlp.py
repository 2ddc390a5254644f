from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.models.mlp import Mlp
from wfpipe.support.errors import InputError


def test_without_biases_it_has_the_weights_of_its_layers_alone() -> None:
    parameters = Mlp(784, 10, hidden=[40, 20], bias=False).named_parameters()
    assert [(name, tuple(value.shape)) for name, value in parameters] == [
        ("layers.0.weight", (40, 784)),
        ("layers.2.weight", (20, 40)),
        ("layers.4.weight", (10, 20)),
    ]


def test_the_default_is_lenet_300_100() -> None:
    count = sum(parameter.numel() for parameter in Mlp(784, 10).parameters())
    assert count == 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10


def test_one_hidden_layer_may_be_given_as_a_number() -> None:
    assert [tuple(p.shape) for p in Mlp(4, 3, hidden=5).parameters()] == [
        (5, 4),
        (5,),
        (3, 5),
        (3,),
    ]


def test_there_is_a_relu_between_layers_and_none_after_the_last() -> None:
    kinds = [type(layer) for layer in Mlp(4, 3, hidden=[6, 5]).layers]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8)])
def test_flattens_its_input_and_leaves_it_as_it_was(shape: tuple[int, ...]) -> None:
    x = torch.randn(3, *shape)
    before = x.clone()
    assert Mlp(64, 10)(x).shape == (3, 10)
    assert torch.equal(x, before)


@pytest.mark.parametrize("hidden", [[], [0], [-3], [1.5], "40", True, None, [2**70], {"a": 1}])
def test_hidden_sizes_that_are_not_whole_numbers_are_refused(hidden: object) -> None:
    with pytest.raises(InputError, match="option 'hidden' of model 'mlp' must be") as caught:
        Mlp(4, 3, hidden=hidden)  # type: ignore[arg-type]
    assert repr(hidden) in str(caught.value)


def test_a_bias_that_is_not_true_or_false_is_refused() -> None:
    with pytest.raises(InputError, match="option 'bias' of model 'mlp' must be true or false"):
        Mlp(4, 3, bias="no")  # type: ignore[arg-type]
