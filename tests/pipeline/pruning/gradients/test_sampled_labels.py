from __future__ import annotations

import pytest
import torch

from wfpipe.pipeline.pruning.gradients.sampled_labels import sample_labels


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_labels_follow_the_softmax_of_the_outputs():
    logits = torch.tensor([[0.0, 1.0, -1.0, 2.0]])
    labels = sample_labels(logits.expand(20_000, 4), generator())
    shares = torch.bincount(labels, minlength=4) / 20_000
    # the standard deviation of a share is at most 0.5 / sqrt(20,000) = 0.0035
    torch.testing.assert_close(shares, logits.softmax(1)[0], rtol=0, atol=5 * 0.0035)


def test_classes_without_probability_are_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]).expand(500, 5)
    assert set(sample_labels(logits, generator()).tolist()) == {1, 3}


def test_a_seed_fixes_the_labels_however_the_samples_are_cut():
    logits = torch.randn(50, 7, generator=generator(1))
    whole = sample_labels(logits, generator(2))
    assert torch.equal(whole, sample_labels(logits, generator(2)))
    assert not torch.equal(whole, sample_labels(logits, generator(3)))
    again = generator(2)
    pieces = [sample_labels(piece, again) for piece in torch.split(logits, [1, 20, 3, 26])]
    assert torch.equal(whole, torch.cat(pieces))


def test_every_position_of_an_output_gets_its_own_label():
    logits = torch.randn(3, 5, 2, 4, generator=generator())
    labels = sample_labels(logits * 1e4, generator())
    assert labels.dtype == torch.int64
    assert torch.equal(labels, logits.argmax(1))


@pytest.mark.parametrize("shape", [(3,), (3, 0)])
def test_outputs_that_are_no_logits_are_refused(shape):
    with pytest.raises(ValueError, match="labels can be sampled from outputs of shape"):
        sample_labels(torch.zeros(shape), generator())
