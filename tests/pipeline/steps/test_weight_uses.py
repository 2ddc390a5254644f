from __future__ import annotations

import torch
from torch import Tensor, nn

from wfpipe.pipeline.pruning.gradients.rows import collect_gradients
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.steps.setup import find_weights
from wfpipe.pipeline.steps.weight_uses import reached_by_gradients
from wfpipe.support.progress import Silent
from wfpipe.tests.pipeline.steps.test_setup import Warnings


class Trunk(nn.Module):
    """A frozen trunk, one that is run without gradients, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.frozen, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.cut(x)
        output: Tensor = self.head(self.frozen(x).relu())
        return output


def test_gradients_reach_frozen_weights_and_none_that_forward_cuts_off():
    module = Trunk()
    weights = {n: p for n, p in module.named_parameters() if p.dim() > 1}
    assert reached_by_gradients(module, weights, torch.rand(2, 4)) == {
        "frozen.weight", "head.weight",
    }  # fmt: skip
    assert not module.frozen.weight.requires_grad


def test_rows_of_frozen_weights_are_those_of_trained_ones():
    module = Trunk()
    batches = [(torch.rand(2, 4), torch.tensor([0, 1])) for _ in range(3)]
    weights = {"frozen.weight": module.get_parameter("frozen.weight")}
    keep = torch.ones(16, dtype=torch.bool)
    loss = nn.functional.cross_entropy
    found = collect_gradients(module, weights, batches, loss, rows=3, keep=keep)
    assert not module.frozen.weight.requires_grad
    module.frozen.requires_grad_(True)
    assert torch.equal(found, collect_gradients(module, weights, batches, loss, rows=3, keep=keep))
    assert bool(found.any())


def test_what_stays_dense_and_what_is_frozen_is_said_by_name_and_number():
    reporter = Warnings()
    settings = resolve({"prune": {"sparsity": 0.5}}).prune
    found = find_weights(Trunk(), settings, reporter, torch.rand(2, 4))
    assert list(found) == ["frozen.weight"]
    assert reporter.lines == [
        "prunable: 16 of 44 weights, in 1 tensor",
        "  stays dense: head.weight (12): prune.exclude",
        "  stays dense: cut.weight (16): no gradient reaches it "
        "(forward detaches what it computes)",
        "  frozen (requires_grad=False): frozen.weight (16): pruned like the others, not "
        "fine-tuned; prune.exclude keeps them dense",
    ]
    magnitude = settings.model_copy(update={"criterion": "magnitude"})
    assert list(find_weights(Trunk(), magnitude, Silent(), torch.rand(2, 4))) == [
        "cut.weight", "frozen.weight",
    ]  # fmt: skip
