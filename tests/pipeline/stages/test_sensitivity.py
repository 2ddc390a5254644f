from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.pipeline.pruning.loss_curves import Curve, Point
from wfpipe.pipeline.stages.sensitivity import Sensitivity, measure_sensitivity, sensitivity_recipe
from wfpipe.support.progress import Silent


def found(losses: dict[str, list[float]], sparsities: tuple[float, ...], wanted: float = 0.9):
    curves = [
        Curve(
            name,
            tuple(Point(s, round(100 * s), x) for s, x in zip(sparsities, values, strict=True)),
        )
        if values
        else Curve(name, (), "nothing is known")
        for name, values in losses.items()
    ]
    recipe = sensitivity_recipe(None, {"prune": {"sparsity": wanted}})
    return Sensitivity(recipe, {name: [10, 10] for name in losses}, sparsities, curves)


@pytest.mark.parametrize("place", ["disk", "passes"])
def test_where_the_bank_is_changes_nothing(place, tmp_path):
    def curves(where: str) -> dict[str, list[float]]:
        prune = {"gradients": 6, "fisher_place": where, "exclude": []}
        result = measure_sensitivity(
            sensitivity_recipe(None, {"prune": prune}), [0.5, 0.9], Silent(), folder=tmp_path
        )
        return {curve.layer: [point.loss for point in curve.points] for curve in result.curves}

    elsewhere, in_memory = curves(place), curves("host")
    assert list(elsewhere) == list(in_memory)
    for name, losses in elsewhere.items():
        assert losses == pytest.approx(in_memory[name], rel=1e-4)
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_wins_over_the_defaults_of_the_command():
    assert sensitivity_recipe(None, {}).prune.update == "none"
    assert sensitivity_recipe(None, {}).prune.fisher_labels == "model"
    recipe = sensitivity_recipe({"prune": {"update": "joint"}}, {"prune": {"damping": 1e-3}})
    assert (recipe.prune.update, recipe.prune.damping) == ("joint", 1e-3)


def test_the_table_shows_five_sparsities_at_most_the_first_and_the_last_among_them():
    sparsities = tuple(number / 20 for number in range(1, 12))
    table = found({"a": [10.0 * s for s in sparsities]}, sparsities).table()
    assert table == [
        ("layer", "shape", "weights", "5 %", "15 %", "30 %", "45 %", "55 %"),
        ("a", "10 × 10", "100", "0.5", "1.5", "3", "4.5", "5.5"),
    ]


def test_figures_are_short_and_layers_without_a_curve_have_a_dash():
    table = found({"a": [1.234e-5, 123.4, 1.2e7], "b": []}, (0.5, 0.95, 0.99)).table()
    assert table[1][3:] == ("1.2e-05", "123", "1.2e+07")
    assert table[2][3:] == ("–", "–", "–")


def test_the_summary_ranks_layers_at_the_sparsity_nearest_to_the_recipes():
    losses = {name: [1.0, rank] for rank, name in enumerate("abcdefgh", start=1)}
    text = found({**losses, "broken": []}, (0.5, 0.8), wanted=0.9).summary()
    assert text == (
        "at 80 % sparsity of one layer, the most sensitive layers are h (8 nats), g (7 nats), "
        "f (6 nats); the least sensitive layers are a (1 nats), b (2 nats), c (3 nats)"
    )


def test_the_summary_of_one_or_two_layers_is_a_sentence_too():
    assert found({"a": [0.5]}, (0.9,)).summary() == (
        "at 90 % sparsity of one layer, the only one is a (0.5 nats)"
    )
    assert found({"a": [0.5], "b": [0.25]}, (0.9,)).summary() == (
        "at 90 % sparsity of one layer, the most sensitive layer is a (0.5 nats); "
        "the least sensitive layer is b (0.25 nats)"
    )


def test_the_plot_leaves_out_layers_without_a_curve(tmp_path: Path):
    drawing = found({"a.weight": [0.5], "b.weight": []}, (0.9,)).to_svg().decode()
    assert "a.weight" in drawing
    assert "b.weight" not in drawing
