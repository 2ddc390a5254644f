from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from wfpipe.pipeline.pruning.gradients import rows as gradients
from wfpipe.pipeline.pruning.gradients.bank import TensorBank
from wfpipe.pipeline.pruning.gradients.rows import (
    Collected,
    bank_bytes,
    chunk_samples,
    collect,
    collect_gradients,
    evaluating,
)
from wfpipe.pipeline.pruning.tensors.layout import Layout
from wfpipe.pipeline.pruning.tensors.prunables import find_prunables

Batches = list[tuple[Tensor, Tensor]]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 4)
    )


def batches(count: int, size: int = 2) -> Batches:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(size, 1, 4, 4, generator=generator), torch.arange(size) % 4)
        for _ in range(count)
    ]


def gathered(module: nn.Module, data: Batches, **options) -> tuple[Tensor, Collected]:
    """Collect into a tensor, all weights kept unless said otherwise."""
    weights = find_prunables(module)
    keep = torch.ones(Layout(weights).total, dtype=torch.bool)
    G = torch.full((len(data), len(keep)), torch.nan)
    arguments: dict[str, Any] = {"rows": len(data), "keep": keep, "sink": TensorBank(G)}
    loss = options.pop("loss", F.cross_entropy)
    return G, collect(module, weights, data, loss, **arguments | options)


def backward(module: nn.Module, x: Tensor, y: Tensor, loss=F.cross_entropy) -> Tensor:
    """The gradient of a mini-batch by .backward(), as one vector."""
    weights = find_prunables(module)
    module.eval().zero_grad()
    loss(module(x), y).backward()
    found = {name: weight.grad for name, weight in weights.items()}
    module.zero_grad(set_to_none=True)
    return Layout(weights).flatten({name: g for name, g in found.items() if g is not None})


def test_rows_are_gradients_of_the_mean_loss_in_eval_mode():
    module, data = network().train(), batches(3)
    G, _ = gathered(module, data)
    for row, (x, y) in zip(G, data, strict=True):
        single = [backward(module, x[i : i + 1], y[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(row, torch.stack(single).mean(0))


def test_pruned_weights_have_zero_columns_even_where_the_gradient_is_not_finite():
    module, data = network(), batches(2)
    keep = torch.rand(Layout(find_prunables(module)).total) < 0.5

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        outputs.register_hook(lambda gradient: gradient.index_fill(1, torch.tensor([0]), torch.inf))
        return F.cross_entropy(outputs, targets)

    keep[-48:-36] = False  # the weights of output 0
    keep[:27] = False
    G, result = gathered(module, data, keep=keep, loss=loss, mean_gradient=True)
    assert result.gradient is not None
    for vector in (*G, result.gradient):
        assert bool((vector[~keep] == 0).all())
        assert bool((vector[keep] != 0).any())


@settings(max_examples=15, deadline=None)
@given(
    size=st.integers(1, 7), micro_batch=st.integers(1, 8), labels=st.sampled_from(["data", "model"])
)
def test_micro_batches_give_what_the_whole_mini_batch_gives(size, micro_batch, labels):
    module, data = network(), batches(3, size)

    def run(cut: int | None) -> tuple[Tensor, Collected]:
        generator = torch.Generator().manual_seed(5)
        options = {"labels": labels, "generator": generator, "mean_gradient": True}
        return gathered(module, data, micro_batch=cut, **options)

    (whole, expected), (G, result) = run(None), run(micro_batch)
    torch.testing.assert_close(G, whole)
    torch.testing.assert_close(result.gradient, expected.gradient)
    assert result.loss == pytest.approx(expected.loss)


def test_the_mean_gradient_and_the_loss_are_the_means_over_the_rows():
    module, data = network(), batches(5)
    G, result = gathered(module, data, mean_gradient=True)
    torch.testing.assert_close(result.gradient, G.mean(0))
    losses = [F.cross_entropy(module.eval()(x), y).item() for x, y in data]
    assert result.loss == pytest.approx(sum(losses) / 5)
    assert gathered(module, data)[1].gradient is None


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("together", [False, True])
def test_labels_of_the_model_change_the_rows_but_not_the_mean_gradient(size, together):
    module, data = network(), batches(40, size)
    truth, expected = gathered(module, data, mean_gradient=True)
    G, result = gathered(
        module, data, labels="model", generator=torch.Generator().manual_seed(1),
        mean_gradient=True, together=together,
    )  # fmt: skip
    assert not torch.allclose(G, truth)
    torch.testing.assert_close(result.gradient, expected.gradient)
    assert result.loss == pytest.approx(expected.loss)


def test_rows_with_labels_of_the_model_are_gradients_at_a_drawn_label():
    module, data = network(), batches(20, 1)
    G, _ = gathered(module, data, labels="model", generator=torch.Generator().manual_seed(1))
    drawn = set()
    for row, (x, _) in zip(G, data, strict=True):
        choices = [backward(module, x, torch.tensor([label])) for label in range(4)]
        matching = [label for label in range(4) if torch.allclose(row, choices[label], atol=1e-6)]
        assert len(matching) == 1
        drawn.add(matching[0])
    assert len(drawn) > 1


@pytest.mark.parametrize("together", [False, True])
def test_a_seed_gives_the_same_rows(together):
    module, data = network(), batches(9, 1)

    def run(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return gathered(module, data, labels="model", generator=generator, together=together)[0]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_nothing_is_left_behind():
    module = network().train()
    module[1].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    gathered(module, batches(2), mean_gradient=True)
    assert [part.training for part in module] == [True, False, True, True, True]
    assert module.training
    assert all(parameter.grad is None for parameter in module.parameters())
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_modes_come_back_after_an_exception():
    module = network().train()
    module[1].eval()

    def fail() -> None:
        with evaluating(module):
            assert not any(part.training for part in module.modules())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [part.training for part in module] == [True, False, True, True, True]


def test_recurrent_layers_are_derived_without_cudnn_which_cannot_in_eval_mode():
    module = nn.Sequential(nn.LSTM(2, 3), nn.Linear(3, 4))
    before = torch.backends.cudnn.enabled
    with evaluating(module):
        assert not torch.backends.cudnn.enabled
    assert torch.backends.cudnn.enabled == before


def test_any_loss_and_weights_that_the_outputs_do_not_use_are_taken():
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.used(x)
            return result

    module, x, y = Unused(), torch.randn(4, 3), torch.randn(4, 2)
    for loss in (F.mse_loss, lambda out, target: (out - target).abs().mean()):
        G, _ = gathered(module, [(x, y)], loss=loss)
        expected = torch.autograd.grad(loss(module(x), y), module.used.weight)[0]
        torch.testing.assert_close(G[0, :6], expected.reshape(-1))
        assert bool((G[0, 6:] == 0).all())


def test_gradients_are_computed_where_the_caller_switched_them_off():
    module, data = network(), batches(1)
    expected, _ = gathered(module, data)
    with torch.no_grad():
        G, _ = gathered(module, data)
    assert torch.equal(G, expected)


def test_without_a_sink_only_what_was_asked_for_is_computed():
    module, data = network(), batches(3)
    _, expected = gathered(module, data, mean_gradient=True)
    _, mean = gathered(module, data, mean_gradient=True, sink=None)
    assert mean.gradient is not None
    assert expected.gradient is not None
    assert torch.equal(mean.gradient, expected.gradient)
    _, loss = gathered(module, data, sink=None)
    assert loss.gradient is None
    assert loss.loss == mean.loss == expected.loss


def test_too_few_batches_are_refused():
    with pytest.raises(ValueError, match="3 mini-batches are needed, got 2"):
        gathered(network(), batches(2), rows=3)


def test_no_more_mini_batches_are_taken_than_rows():
    taken = []
    data = batches(5)
    gathered(network(), data[:2], rows=1)

    def stream():
        for batch in data:
            taken.append(batch)
            yield batch

    module = network()
    weights = find_prunables(module)
    keep = torch.ones(Layout(weights).total, dtype=torch.bool)
    collect(module, weights, stream(), F.cross_entropy, rows=3, keep=keep, sink=None)
    assert len(taken) == 3


@pytest.mark.parametrize("bad", [0, 34, 39])
@pytest.mark.parametrize("together", [False, True])
def test_a_loss_that_is_not_finite_is_named_by_its_row(bad, together):
    data = batches(40, 1)
    data[bad] = (torch.full((1, 1, 4, 4), torch.inf), data[bad][1])
    with pytest.raises(FloatingPointError, match=f"the loss of gradient {bad + 1} is nan"):
        gathered(network(), data, together=together)


def test_a_loss_must_be_one_number():
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    with pytest.raises(ValueError, match=r"the loss must be one number, got shape \(2,\)"):
        gathered(network(), batches(1), loss=loss)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "rows must be >= 1, got 0"),
        ({"micro_batch": 0}, "micro_batch must be >= 1, got 0"),
        ({"at_once": 0}, "at_once must be >= 1, got 0"),
        ({"labels": "mine"}, "labels must be 'data' or 'model', got 'mine'"),
        ({"labels": "model"}, "labels='model' needs a generator"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        gathered(network(), batches(1), **options)


def test_each_row_is_reported():
    for size in (1, 2):
        reported: list[int] = []
        gathered(network(), batches(7, size), together=True, on_row=lambda: reported.append(1))  # noqa: B023
        assert len(reported) == 7


def test_chunks_of_samples_are_bounded_in_number_and_in_bytes():
    assert chunk_samples(10) == 32
    assert chunk_samples(25_000_000) == 2
    assert chunk_samples(10**9) == 1
    assert chunk_samples(10, 5) == 5


@pytest.mark.parametrize(
    ("side", "options", "expected"),
    [
        (8, {}, [32, 8]),
        (80, {}, []),
        (8, {"at_once": 20}, [20, 20]),
        (8, {"micro_batch": 16}, [16, 16, 8]),
        (8, {"at_once": 15}, []),
    ],
)
def test_small_samples_are_computed_together_and_large_ones_apart(
    monkeypatch, side, options, expected
):
    seen = []
    original = gradients._all_at_once

    def spy(task, group, record):
        seen.append(len(group))
        return original(task, group, record)

    monkeypatch.setattr(gradients, "_all_at_once", spy)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    gathered(module, [(torch.randn(1, 3, side, side), torch.tensor([0]))] * 40, **options)
    assert seen == expected


def test_the_bank_as_a_tensor_is_what_a_sink_gets():
    module, data = network(), batches(3)
    weights = find_prunables(module)
    keep = torch.rand(Layout(weights).total) < 0.5
    G = collect_gradients(module, weights, data, F.cross_entropy, rows=3, keep=keep)
    assert torch.equal(G, gathered(module, data, keep=keep)[0])


def test_bank_bytes_is_what_the_bank_takes():
    assert bank_bytes(3, 7) == torch.empty(3, 7, dtype=torch.float32).nbytes
