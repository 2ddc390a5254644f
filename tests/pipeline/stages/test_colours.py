from __future__ import annotations

import pytest
from torch import nn

from wfpipe.pipeline.data.source import Data, open_data
from wfpipe.pipeline.recipe.data import DataSettings
from wfpipe.pipeline.stages.colours import match_channels
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def digits(channels: int) -> Data:
    settings = DataSettings(source="digits", limit_train=10, limit_test=10, channels=channels)
    return open_data(settings, seed=0, reporter=Silent())


def network(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 2, 3), nn.Flatten(), nn.Linear(72, 10))


def test_gray_images_are_repeated_for_a_network_of_three_channels() -> None:
    said = Said()
    data = match_channels(network(3), digits(1), said)
    assert data.preprocessing.shape == (3, 8, 8)
    assert said.lines == ["the images are gray: their channel is repeated to three"]


@pytest.mark.parametrize("channels", [1, 3])
def test_what_fits_stays_as_it_is(channels: int) -> None:
    said, data = Said(), digits(channels)
    assert match_channels(network(channels), data, said) is data
    assert said.lines == []


def test_a_network_that_fails_on_both_is_left_to_the_check_of_its_outputs() -> None:
    data = digits(1)
    assert match_channels(network(2), data, Silent()) is data


def test_colour_for_a_network_of_one_channel_gets_the_remedy() -> None:
    with pytest.raises(InputError, match=r"--set data\.channels=1 makes them gray"):
        match_channels(network(1), digits(3), Silent())
