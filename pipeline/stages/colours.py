"""Bringing the channels of images and network together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...support.errors import InputError
from ...support.progress import Reporter
from ..data.preparation.common_form import REPEATED
from ..data.source import Data


def match_channels(module: nn.Module, data: Data, reporter: Reporter) -> Data:
    """Repeat the channel of gray images where the network takes three and not one.

    The network is asked: two samples are tried as they are, and then with other channels.

    Args:
        module: the network; it is left in eval mode.
        data: gives the samples.
        reporter: told when the channel is repeated.

    Returns:
        the data as they are, or repeated.

    Raises:
        InputError: when the images have three channels and the network takes one.
    """
    shape = data.preprocessing.shape
    if data.preprocessing.kind != "image" or shape[0] not in (1, 3):
        return data
    inputs, _ = next(iter(data.test_batches(batch=2)))
    if _takes(module, inputs):
        return data
    if shape[0] == 1 and _takes(module, inputs.expand(-1, 3, -1, -1)):
        reporter.say(REPEATED)
        return data.repeated()
    if shape[0] == 3 and _takes(module, inputs[:, :1]):
        raise InputError(
            "the model takes images of one channel, and the data has three: "
            "--set data.channels=1 makes them gray"
        )
    return data


def _takes(module: nn.Module, inputs: Tensor) -> bool:
    try:
        with torch.no_grad():
            module.eval()(inputs)
    except Exception:  # a network fails on a wrong input in any way
        return False
    return True
