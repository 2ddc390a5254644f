from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wfpipe.pipeline.steps.correction import FAR, LEARNING_RATE, correct
from wfpipe.pipeline.steps.refit_graph import all_values


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5),
    )  # fmt: skip


def pruned():
    """Return a network, its dense values, and batches."""
    module = network()
    dense = {name: value.clone() for name, value in all_values(module).items()}
    module[0].weight.data[torch.rand(8, 2, 3, 3) < 0.6] = 0
    return module, dense, [torch.randn(16, 2, 6, 6) for _ in range(60)]


@torch.no_grad()
def divergence(module, dense, batches):
    teacher = network()
    teacher.load_state_dict(dense)
    x = torch.cat(batches)
    wanted, given = teacher.eval()(x).log_softmax(1), module(x).log_softmax(1)
    return float(F.kl_div(given, wanted, log_target=True, reduction="batchmean"))


def test_the_outputs_come_closer_and_weights_and_statistics_stay():
    module, dense, batches = pruned()
    module.eval()
    before, state = divergence(module, dense, batches), copy.deepcopy(module.state_dict())
    correct(module, dense, partial(list, batches[:50]), probes=batches[50:], steps=50)
    assert divergence(module, dense, batches) < before
    changed = {n for n, value in module.state_dict().items() if not torch.equal(value, state[n])}
    assert changed == {"0.bias", "1.weight", "1.bias", "4.bias"}
    assert all(parameter.grad is None for parameter in module.parameters())


def masks_of(module):
    return {"0.weight": module[0].weight != 0}


def test_kept_weights_move_too_where_masks_are_given_and_pruned_ones_stay_zero():
    module, dense, batches = pruned()
    module.eval()
    masks, before = masks_of(module), divergence(module, dense, batches)
    correct(module, dense, partial(list, batches[:50]), probes=batches[50:], steps=50, masks=masks)
    assert divergence(module, dense, batches) < before
    assert torch.equal(module[0].weight != 0, masks["0.weight"])
    assert not torch.equal(module[4].weight, dense["4.weight"])
    assert torch.equal(module[1].running_mean, dense["1.running_mean"])


def test_weights_come_closer_than_vectors_alone():
    found = []
    for weights in (False, True):
        module, dense, batches = pruned()
        for values in (dense["4.weight"], module[4].weight.data):
            values.mul_(8)  # so that there is something to be gained
        masks = masks_of(module) if weights else None
        correct(
            module, dense, partial(list, batches[:50]), probes=batches[50:], steps=50, masks=masks
        )
        found.append(divergence(module.eval(), dense, batches))
    assert found[1] < found[0]


@pytest.mark.parametrize("weights", [False, True])
def test_the_first_step_is_adams_down_the_gradient_of_vectors_and_then_of_all(weights):
    module, dense, batches = pruned()
    module.double().eval()
    masks = masks_of(module) if weights else None
    dense = {name: value.double() for name, value in dense.items() if value.is_floating_point()}
    x = batches[0].double()
    teacher = network().double().eval()
    teacher.load_state_dict(dense, strict=False)
    wanted = teacher(x).detach().softmax(1)
    expected = copy.deepcopy(module)
    for everything in [False, True] if weights else [False]:
        moved = {n: p for n, p in expected.named_parameters() if everything or p.dim() <= 1}
        loss = (wanted * (wanted.log() - expected(x).log_softmax(1))).sum(1).mean()
        gradients = torch.autograd.grad(loss, list(moved.values()))
        rate = LEARNING_RATE * (min(1.0, loss.item() / FAR) if everything else 1)
        for (name, p), g in zip(moved.items(), gradients, strict=True):
            mask = (masks or {}).get(name, torch.ones_like(p, dtype=torch.bool))
            p.data = ((p - rate * g / (g.abs() + 1e-8)) * mask).detach()
    correct(module, dense, lambda: [x], probes=[x], steps=1, masks=masks)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value)


def test_what_helps_stays_and_what_does_not_is_undone():
    module, dense, batches = pruned()
    state = copy.deepcopy(module.state_dict())
    misleading = [batch * 100 for batch in batches[:5]]
    assert not correct(
        module, dense, lambda: misleading, probes=batches[50:], steps=5, masks=masks_of(module)
    )
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert correct(module, dense, partial(list, batches[:50]), probes=batches[50:], steps=50)


def test_weights_of_a_network_that_is_nearly_right_are_not_thrown_about():
    module, dense, batches = pruned()
    module.load_state_dict(dense, strict=False)
    with torch.no_grad():
        module[4].bias[0] += 0.01
    near = divergence(module.eval(), dense, batches)
    correct(
        module,
        dense,
        partial(list, batches[:20]),
        probes=batches[50:],
        steps=20,
        masks=masks_of(module),
    )
    assert divergence(module, dense, batches) < near < 1e-4


def test_modes_stay_and_every_step_is_counted():
    module, dense, batches = pruned()
    module.train()
    counted = []
    correct(
        module, dense, partial(list, batches[:4]), probes=batches[4:], steps=4,
        attempt=lambda: nullcontext(lambda: counted.append(1)),
    )  # fmt: skip
    assert module.training
    assert len(counted) == 4


def test_the_same_batches_give_the_same_bits():
    found = []
    for _ in range(2):
        module, dense, batches = pruned()
        correct(module, dense, partial(list, batches[:5]), probes=batches[5:], steps=5)
        found.append(module.state_dict())
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())


def test_frozen_vectors_stay():
    module, dense, batches = pruned()
    module[1].bias.requires_grad = False
    before = module[1].bias.clone()
    correct(module, dense, partial(list, batches[:3]), probes=batches[3:], steps=3)
    assert torch.equal(module[1].bias, before)


def test_outputs_that_are_not_finite_are_refused():
    module, dense, batches = pruned()
    batches[1][0] = float("nan")
    with pytest.raises(ArithmeticError, match="not finite"):
        correct(module, dense, partial(list, batches[:50]), probes=batches[50:], steps=50)


def test_a_weight_of_two_names_is_taken_for_what_it_was_under_each():
    torch.manual_seed(0)
    layers = [nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8)]
    layers[2].weight = layers[1].weight
    module = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    dense = {name: value.clone() for name, value in all_values(module).items()}
    kept = torch.rand(8, 8) < 0.5
    layers[1].weight.data.mul_(kept)
    batches = [torch.randn(16, 6) for _ in range(40)]
    assert correct(
        module, dense, partial(list, batches[:30]), probes=batches[30:], steps=30,
        masks={"2.weight": kept},
    )  # fmt: skip
    assert torch.equal(layers[2].weight != 0, kept)
