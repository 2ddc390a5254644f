from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.runs.device import place
from wfpipe.support.errors import InputError


def test_auto_is_the_first_gpu_or_else_the_cpu():
    expected = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert str(place("auto").device) == expected


def test_training_is_in_float32_on_the_cpu_unless_asked_otherwise():
    assert not place("cpu").bfloat16
    assert place("cpu", "bfloat16").bfloat16
    with place("cpu", "bfloat16").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_images_and_networks_are_laid_out_channels_last():
    placement = place("cpu")
    batch = placement.tensor(torch.randn(2, 3, 8, 8))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    network = placement.network(torch.nn.Conv2d(3, 4, 3))
    assert network.get_parameter("weight").is_contiguous(memory_format=torch.channels_last)
    assert placement.tensor(torch.randn(2, 3)).shape == (2, 3)
    volumes = torch.nn.Conv3d(2, 3, 3)
    volumes.register_buffer("turn", torch.ones(2, 2, dtype=torch.complex64) * 1j)
    placement.network(volumes)
    assert volumes.get_parameter("weight").shape == (3, 2, 3, 3, 3)
    assert bool((volumes.get_buffer("turn").imag == 1).all())


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "cuda:-1", "", "cpu:1:2", "cuda:99"])
def test_devices_that_are_not_there_are_named(name):
    with pytest.raises(InputError, match="device") as raised:
        place(name)
    assert repr(name) in str(raised.value)
