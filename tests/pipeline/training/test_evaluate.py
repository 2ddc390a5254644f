from __future__ import annotations

import torch
from torch import nn

from wfpipe.pipeline.runs.device import place
from wfpipe.pipeline.training.evaluate import evaluate


def test_accuracy_counts_samples_in_eval_mode_and_restores_the_mode():
    module = nn.Sequential(nn.Identity(), nn.Dropout(0.9)).train()
    outputs = torch.eye(3)
    batches = [(outputs, torch.tensor([0, 1, 0])), (outputs[:1], torch.tensor([0]))]
    assert evaluate(module, batches, place("cpu")).value == 75.0
    assert module.training
