from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.exporters.onnx.dynamic import axes_of, check_sizes, resized
from wfpipe.support.errors import InputError


def test_names_are_axes_of_images_and_of_sequences() -> None:
    assert axes_of(["batch"], 2) == {0: "batch"}
    assert axes_of(["batch", "height", "width"], 4) == {0: "batch", 2: "height", 3: "width"}
    assert axes_of(["sequence"], 3) == {0: "batch", 1: "sequence"}
    assert axes_of(["sequence", "height"], 1) == {0: "batch"}


@pytest.mark.parametrize(("name", "shape"), [("height", (2, 3, 4)), ("sequence", (2, 3, 4, 5))])
def test_an_axis_that_no_input_has_is_named(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"export.dynamic: {name} is no dimension"):
        check_sizes(nn.Flatten(), torch.zeros(shape), [name])


def test_another_size_is_twice_as_long_where_it_is_free() -> None:
    image, numbers = resized((torch.zeros(2, 3, 4, 5), torch.zeros(2, 6)), ["batch", "width"])
    assert (image.shape, numbers.shape) == ((2, 3, 4, 10), (2, 6))


def test_a_network_of_one_size_is_refused_with_the_remedy() -> None:
    module, samples = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.zeros(2, 3, 2, 2)
    check_sizes(module, samples, ["batch"])
    with pytest.raises(InputError, match=r"one size only.* leave width out of export\.dynamic"):
        check_sizes(module, samples, ["batch", "width"])
