"""Losses, drawn targets and metrics of the tasks against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wfpipe.pipeline.recipe.task import TaskSettings
from wfpipe.pipeline.tasks.registry import open_task
from wfpipe.support.errors import InputError

G = torch.Generator().manual_seed(3)


def task(kind: str, **settings: str):
    return open_task(TaskSettings(kind=kind, **settings))


def scores_of(kind: str, outputs, targets) -> dict[str, float]:
    meter = task(kind).meter()
    for at in range(0, len(targets), 3):  # batches make no difference
        meter.add(outputs[at : at + 3], targets[at : at + 3])
    return {name: score.value for name, score in meter.scores().items()}


def test_classification_of_positions_counts_the_labelled_ones_of_each_sample() -> None:
    outputs, labels = torch.randn(4, 5, 3, generator=G), torch.randint(3, (4, 5), generator=G)
    labels[0, 1:] = -100
    rows = [F.cross_entropy(o[y >= 0], y[y >= 0]) for o, y in zip(outputs, labels, strict=True)]
    loss = task("classification").loss(outputs, labels)
    torch.testing.assert_close(loss, torch.stack(rows).mean())
    right = (outputs.argmax(-1) == labels)[labels >= 0]
    found = scores_of("classification", outputs, labels)["accuracy"]
    assert found == pytest.approx(100 * float(right.double().mean()))


def test_mean_iou_is_that_of_sets_of_pixels() -> None:
    outputs, labels = torch.randn(7, 3, 4, 5, generator=G), torch.randint(3, (7, 4, 5), generator=G)
    labels[0] = 255  # no class
    given, wanted = outputs.argmax(1)[1:], labels[1:]
    ratios = [
        float(((given == k) & (wanted == k)).sum()) / float(((given == k) | (wanted == k)).sum())
        for k in range(3)
    ]
    found = scores_of("segmentation", outputs, labels)
    assert found["mean_iou"] == pytest.approx(100 * float(np.mean(ratios)))
    assert found["pixel_accuracy"] == pytest.approx(100 * float((given == wanted).double().mean()))


def test_average_precision_is_the_area_under_the_steps_of_precision_and_recall() -> None:
    scores = torch.randint(6, (40, 3), generator=G).double() * 25 - 40  # many samples of one score
    labels = torch.rand(40, 3, generator=G) < 0.3
    areas = []
    for column in range(3):
        area, recall = 0.0, 0.0
        for threshold in sorted(set(scores[:, column].tolist()), reverse=True):
            taken = scores[:, column] >= threshold
            hits = float((taken & labels[:, column]).sum())
            now = hits / float(labels[:, column].sum())
            area, recall = area + (now - recall) * hits / float(taken.sum()), now
        areas.append(area)
    found = scores_of("multilabel", scores, labels.float())["mean_average_precision"]
    assert found == pytest.approx(100 * np.mean(areas), rel=1e-6)
    none = torch.zeros(40, 1)  # a label that no sample has does not count
    more = torch.cat([labels.float(), none], 1), torch.cat([scores, none - 1], 1)
    assert scores_of("multilabel", more[1], more[0])["mean_average_precision"] == found
    assert scores_of("multilabel", none - 1, none) == {
        "mean_average_precision": 0, "f1": 0, "label_accuracy": 100
    }  # fmt: skip


def test_f1_is_the_mean_over_labels() -> None:
    outputs, labels = torch.randn(9, 4, generator=G), torch.randint(2, (9, 4), generator=G).float()
    given, wanted = outputs > 0, labels.bool()
    each = [
        2 * float((g & w).sum()) / float(g.sum() + w.sum())
        for g, w in zip(given.T, wanted.T, strict=True)
    ]
    assert scores_of("multilabel", outputs, labels)["f1"] == pytest.approx(100 * np.mean(each))


@pytest.mark.parametrize(("scale", "middle"), [(1, 0), (1e-6, 0), (1, 1e6), (1e5, -1e7)])
def test_errors_of_regression_at_any_scale(scale: float, middle: float) -> None:
    targets = middle + scale * torch.randn(8, 2, generator=G, dtype=torch.float64)
    outputs = targets + scale * torch.randn(8, 2, generator=G, dtype=torch.float64) / 3
    error = outputs - targets
    spread = (targets - targets.mean(0)).square().sum()
    found = scores_of("regression", outputs, targets)
    assert found["mean_absolute_error"] == pytest.approx(float(error.abs().mean()), rel=1e-9)
    assert found["r2"] == pytest.approx(float(1 - error.square().sum() / spread), rel=1e-6)


def test_targets_that_are_all_the_same_explain_nothing() -> None:
    for count in (1, 4):
        same = torch.full((count, 1), 3.0)
        assert scores_of("regression", same + 1, same) == {"mean_absolute_error": 1, "r2": 0}


def test_outputs_at_a_position_are_for_the_token_behind_it() -> None:
    outputs, tokens = torch.randn(4, 5, 7, generator=G), torch.randint(7, (4, 5), generator=G)
    tokens[1, 3:] = -100
    pairs = [
        (outputs[n, i], tokens[n, i + 1])
        for n in range(4)
        for i in range(4)
        if tokens[n, i + 1] >= 0
    ]
    likely = torch.stack([o.double().log_softmax(-1)[t] for o, t in pairs])
    found = scores_of("next-token", outputs, tokens)
    right = [float(o.argmax() == t) for o, t in pairs]
    assert found["accuracy"] == pytest.approx(100 * np.mean(right))
    assert found["perplexity"] == pytest.approx(float((-likely.mean()).exp()), rel=1e-6)
    assert next(iter(found)) == "accuracy"
    each = likely[:4].mean(), likely[4:6].mean(), likely[6:10].mean(), likely[10:].mean()
    loss = task("next-token").loss(outputs, tokens)
    assert float(loss) == pytest.approx(-float(torch.stack(each).mean()), rel=1e-5)
    drawn = task("next-token").draw(outputs, torch.Generator().manual_seed(0))
    assert drawn.shape == tokens.shape
    assert bool((drawn[:, 0] == -100).all())
    assert bool((drawn[:, 1:] >= 0).all())
    endless = torch.full((4, 5, 7), -1e30).index_fill(-1, torch.tensor([0]), 0.0)
    assert scores_of("next-token", endless, tokens.clamp(min=1))["perplexity"] == 1e18
    with pytest.raises(InputError, match=r"task next-token needs .*choose another with --task"):
        task("next-token").check(outputs, tokens[:, 1:])


@pytest.mark.parametrize(
    ("kind", "outputs"),
    [
        ("multilabel", torch.tensor([[-1.0, 0.5]])),
        ("regression", torch.tensor([[2.0, -3.0]])),
        ("segmentation", torch.tensor([1.0, 0.0])[None, :, None]),
    ],
)
def test_mean_gradient_of_drawn_targets_is_zero(kind: str, outputs: torch.Tensor) -> None:
    """The score function has mean zero under the model's own distribution."""
    many = outputs.expand(40_000, *outputs.shape[1:]).clone().requires_grad_()
    drawn = task(kind).draw(many, torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(task(kind).loss(many, drawn), many)
    assert float(gradient.sum(0).abs().max()) < 0.02


def test_distance_to_itself_is_zero_and_the_least() -> None:
    for kind in ("classification", "multilabel", "regression", "segmentation"):
        wanted = torch.randn(4, 3, 2, generator=G)
        near = task(kind).divergence(wanted, wanted, 2.0)
        assert abs(float(near)) < 1e-6
        assert float(task(kind).divergence(wanted + torch.randn(4, 3, 2), wanted, 2.0)) > 0


def test_output_that_counts_is_found_by_its_name() -> None:
    outputs = {"features": torch.zeros(1), "logits": torch.ones(1)}
    assert task("classification").main(outputs) is outputs["logits"]
    assert task("classification", output="features").main(outputs) is outputs["features"]
    pair = (torch.zeros(1), torch.ones(1))
    assert task("regression").main(pair) is pair[0]
    assert task("regression", output="output_1").main(pair) is pair[1]
    with pytest.raises(InputError, match=r"output in task.output 'logit'.*did you mean 'logits'"):
        task("classification", output="logit").main(outputs)


def test_auxiliary_outputs_weigh_as_in_the_libraries() -> None:
    y, one = torch.tensor([0, 1]), torch.eye(2)
    mine = task("classification")
    main, aux = float(mine.loss(one, y)), float(mine.loss(-one, y))

    def total(outputs) -> float:
        return float(mine.training_loss(outputs, y, 0.0))

    google = {"logits": one, "aux_logits2": -one, "aux_logits1": -one}
    assert total(google) == pytest.approx(main + 0.6 * aux)
    assert total({"logits": one, "aux_logits": -one}) == pytest.approx(main + 0.4 * aux)
    assert total({"out": one, "aux": -one}) == pytest.approx(main + 0.5 * aux)
    assert total((one, -one, -one)) == pytest.approx(main + 0.6 * aux)
    assert total({"logits": one, "features": one}) == pytest.approx(main)


@pytest.mark.parametrize(
    ("kind", "outputs", "targets"),
    [
        ("classification", torch.zeros(2, 3), torch.zeros(2, 1)),
        ("segmentation", torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, dtype=torch.int64)),
        ("regression", torch.zeros(2, 3), torch.zeros(2, 2)),
        ("multilabel", torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_outputs_and_targets_that_do_not_fit_are_refused(kind, outputs, targets) -> None:
    with pytest.raises(InputError, match=rf"task {kind} needs .*choose another with --task"):
        task(kind).check(outputs, targets)


def test_labels_without_a_place_and_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="label 3 is outside the model's 3 outputs"):
        task("classification").check_targets(torch.tensor([0, 3]), torch.zeros(2, 3))
    with pytest.raises(InputError, match=r"targets of 0 or 1, got 2"):
        task("multilabel").check_targets(torch.tensor([[0, 2]]), torch.zeros(1, 2))
    with pytest.raises(InputError, match=r"did you mean 'segmentation'"):
        task("segmentatio")
    with pytest.raises(InputError, match=r"metric of task regression 'r3'"):
        task("regression", metric="r3")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_no_targets_of_a_regression(value):
    task, targets = open_task(TaskSettings(kind="regression")), torch.zeros(4, 1)
    task.check_targets(targets, torch.zeros(4, 1))
    targets[2] = value
    with pytest.raises(InputError, match=r"regression needs finite targets, got (nan|inf)"):
        task.check_targets(targets, torch.zeros(4, 1))
