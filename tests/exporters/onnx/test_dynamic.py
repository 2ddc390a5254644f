from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.exporters.onnx.dynamic import check_sizes, free_axes, resized
from wfpipe.support.errors import InputError


def test_names_are_axes_of_images_and_of_sequences() -> None:
    assert free_axes(["batch"], 2) == {0: "batch"}
    assert free_axes(["batch", "height", "width"], 4) == {0: "batch", 2: "height", 3: "width"}
    assert free_axes(["sequence"], 3) == {0: "batch", 1: "sequence"}
    for names, dimensions in ((["height"], 3), (["sequence"], 4)):
        with pytest.raises(InputError, match=f"export.dynamic: {names[0]} is no dimension"):
            free_axes(names, dimensions)


def test_another_size_is_twice_as_long_where_it_is_free() -> None:
    assert resized(torch.zeros(2, 3, 4, 5), ["batch", "width"]).shape == (2, 3, 4, 10)


def test_a_network_of_one_size_is_refused_with_the_remedy() -> None:
    module, samples = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), torch.zeros(2, 3, 2, 2)
    check_sizes(module, samples, ["batch"])
    with pytest.raises(InputError, match=r"one size only.* leave width out of export\.dynamic"):
        check_sizes(module, samples, ["batch", "width"])
