from __future__ import annotations

import pytest
import torch

from wfpipe.models.digits_cnn import DigitsCnn


def test_has_as_many_parameters_as_documented() -> None:
    assert sum(parameter.numel() for parameter in DigitsCnn(1, 10).parameters()) == 75_370


def test_parameters_are_named_as_documented() -> None:
    names = {name.partition(".")[0] for name, _ in DigitsCnn(1, 10).named_parameters()}
    assert names == {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "fc"}


@pytest.mark.parametrize(("shape", "classes"), [((1, 8, 8), 10), ((3, 32, 48), 4)])
@pytest.mark.parametrize("training", [False, True])
def test_gives_one_logit_for_each_class(
    shape: tuple[int, int, int], classes: int, training: bool
) -> None:
    logits = DigitsCnn(shape[0], classes).train(training)(torch.rand(2, *shape))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()
