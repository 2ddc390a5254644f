from __future__ import annotations

import pytest

from wfpipe.pipeline.recipe.prune import PRESETS
from wfpipe.pipeline.recipe.reading import parse_assignment, resolve
from wfpipe.support.errors import InputError


def prune(*assignments: str):
    return resolve(*(parse_assignment(f"prune.{text}") for text in assignments)).prune


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_changes_defaults_and_nothing_that_was_set(preset):
    settings = prune(f"preset={preset}", "recompute=50")
    assert settings.recompute == 50
    for key, value in PRESETS[preset].items():
        assert getattr(settings, key) == (50 if key == "recompute" else value)


@pytest.mark.parametrize("set_too", [{}, {"sparsity": 0.5}, {"pattern": "2:4"}, {"gradients": 9}])
def test_without_fine_tuning_layers_are_refitted(set_too):
    settings = resolve({"finetune": {"epochs": 0}, "prune": set_too}).prune
    assert settings.preset == "oneshot"
    assert settings.update == "refit"


def test_whole_channels_are_scored_by_the_fisher_under_a_preset_too():
    settings = resolve({"finetune": {"epochs": 0}, "prune": {"pattern": "channel"}}).prune
    assert (settings.preset, settings.criterion) == ("oneshot", "woodfisher")
    asked = prune("pattern=channel", "preset=oneshot", "criterion=magnitude")
    assert asked.criterion == "magnitude"


@pytest.mark.parametrize(
    "own",
    [
        {"preset": "standard"},
        {"criterion": "woodfisher"},
        {"update": "joint"},
        {"update_scale": 0.5},
        {"swaps": 2},
        {"tune_damping": True},
    ],
)
def test_a_recipe_with_its_own_way_keeps_it_without_fine_tuning(own):
    settings = resolve({"finetune": {"epochs": 0}, "prune": own}).prune
    assert settings.preset == "standard"
    assert settings.update == "joint"


def test_with_fine_tuning_nothing_is_put_in_the_place_of_the_defaults():
    assert resolve({"finetune": {"epochs": 1}}).prune == resolve({}).prune


def test_a_preset_reads_back_the_same_once_written():
    recipe = resolve({"prune": {"preset": "thorough", "recompute": 2}})
    assert resolve(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "pattern", "sparsity"),
    [
        ("2:4", "2:4", 0.5),
        ("1:4", "1:4", 0.75),
        ("4:8", "4:8", 0.5),
        ("16:64", "16:64", 0.75),
        ("block:4:in", "block:4:in", 0.9),
    ],
)
def test_a_pattern_is_read_as_it_is_written_and_n_m_brings_its_sparsity(text, pattern, sparsity):
    settings = prune(f"pattern={text}")
    assert (settings.pattern, settings.sparsity) == (pattern, sparsity)
    assert resolve(resolve({"prune": {"pattern": text}}).to_dict()).prune == settings


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["pattern=4:2"], "1 <= N < M"),
        (["pattern=2:2"], "1 <= N < M"),
        (["pattern=2-4"], "unstructured, channel, N:M, block:K:in"),
        (["pattern=2:4", "sparsity=0.9"], "gives sparsity 0.5, got prune.sparsity=0.9"),
        (["swaps=2", "update=single"], "swaps need"),
        (["swaps=2", "criterion=kfac"], "swaps need"),
        (["swaps=2", "pattern=block:4:in"], "swaps need"),
        (["tune_damping=true", "criterion=magnitude"], "needs a criterion with a damping"),
        (["max_macs=0.3"], "max_macs needs allocation=flops"),
        (["layers={layer1: 1.5}"], "layers"),
        (["criterion=woodfisch"], "did you mean 'woodfisher'"),
        (["preset=througher"], "preset"),
    ],
)
def test_settings_that_cannot_work_together_are_named(texts, line):
    with pytest.raises(InputError, match=line):
        prune(*texts)


@pytest.mark.parametrize("text", ["update_scale=0.5", "tune_damping=true"])
def test_a_refit_has_nothing_to_scale(text):
    with pytest.raises(InputError, match="update=refit takes neither update_scale nor tune_dampi"):
        prune("update=refit", text)


def test_a_correction_needs_a_refit():
    with pytest.raises(InputError, match="correction_steps needs update=refit, got joint"):
        prune("correction_steps=10")


def test_a_correction_of_weights_needs_steps():
    with pytest.raises(InputError, match="correction=weights needs correction_steps, got 0"):
        prune("update=refit", "correction=weights")


def test_a_target_of_time_brings_its_allocation_its_form_and_no_sparsity():
    recipe = resolve({"prune": {"target_speedup": 2}, "export": {"variants": "int8"}})
    assert (recipe.prune.allocation, recipe.prune.sparsity) == ("latency", None)
    assert recipe.export.variants == ["sparse-cpu", "int8"]
    assert recipe.export.pick == "fastest"
    assert resolve(recipe.to_dict()) == recipe
    given = resolve({"prune": {"target_speedup": 2}, "export": {"pick": None}}).export
    assert (given.pick, given.variants.count("sparse-cpu")) == (None, 1)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["target_speedup=2", "sparsity=0.9"], "got sparsity=0.9 beside it: leave one"),
        (["target_speedup=2", "allocation=erk"], "got target_speedup=2.0 and allocation=erk"),
        (["target_speedup=2", "pattern=2:4"], "pattern 2:4 fixes it: leave one"),
        (["target_speedup=1"], "prune.target_speedup must be greater than 1, got 1"),
        (["allocation=latency"], "got target_speedup=None and allocation=latency"),
        (["sparsity=null"], "sparsity must be a number unless target_speedup is set"),
    ],
)
def test_a_target_of_time_and_what_contradicts_it_are_refused(assignments, message):
    with pytest.raises(InputError, match=message) as raised:
        prune(*assignments)
    assert "\n" not in str(raised.value)
