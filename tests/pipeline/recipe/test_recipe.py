from __future__ import annotations

import pytest

from wfpipe.pipeline.recipe.reading import parse_assignment, read_recipe_file, resolve
from wfpipe.support.errors import InputError


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("prune.damping=1e-4", "prune", "damping", 1e-4),
        ("data.mean=0.5", "data", "mean", [0.5]),
        ("data.mean=0.4,0.5,0.6", "data", "mean", [0.4, 0.5, 0.6]),
        ("data.augment=crop, flip", "data", "augment", ["crop", "flip"]),
        ("prune.exclude=[]", "prune", "exclude", []),
        ("prune.include=layer*.conv*.weight", "prune", "include", ["layer*.conv*.weight"]),
        ("prune.block=2000", "prune", "block", 2000),
        ("prune.block=network", "prune", "block", "network"),
        ("data.size=32", "data", "size", [32]),
        ("validate.batches=1,8", "validate", "batches", [1, 8]),
        ("validate.provider=tensorrt", "validate", "provider", "tensorrt"),
        ("export.variants=[sparse, int8]", "export", "variants", ["sparse", "int8"]),
        ("export.variants=fp16,ort", "export", "variants", ["fp16", "ort"]),
        ("export.pick=most-accurate", "export", "pick", "most-accurate"),
        ("export.int8_exclude=fc*", "export", "int8_exclude", ["fc*"]),
        (
            "export.targets=linux-x86_64, macos-arm64",
            "export",
            "targets",
            ["linux-x86_64", "macos-arm64"],
        ),
        ("export.targets=null", "export", "targets", None),
        ("model.options={hidden: [40, 20]}", "model", "options", {"hidden": [40, 20]}),
    ],
)
def test_set_takes_yaml_values_and_lists_with_commas(text, section, key, value):
    assert resolve(parse_assignment(text)).to_dict()[section][key] == value


def test_the_written_recipe_reads_back_the_same(tmp_path):
    recipe = resolve({"prune": {"damping": 1e-4}, "data": {"mean": [0.1, 0.2, 0.3]}})
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    assert resolve(read_recipe_file(path)) == recipe


def test_the_digest_changes_with_the_work_and_not_with_the_folder():
    base = resolve({})
    assert resolve({"run": {"out": "elsewhere"}}).digest() == base.digest()
    assert resolve({"run": {"seed": 1}}).digest() != base.digest()


def test_a_digest_over_some_keys_tells_those_alone_apart():
    keys = {"prune": ["sparsity"], "run": ["seed", "out"]}
    base = resolve({}).digest(keys)
    assert resolve({"prune": {"damping": 1e-3}, "run": {"out": "x"}}).digest(keys) == base
    assert resolve({"prune": {"sparsity": 0.5}}).digest(keys) != base
    assert resolve({}).digest(resolve({}).to_dict()) == resolve({}).digest()


def test_differences_name_key_and_both_values():
    changed = resolve({"prune": {"sparsity": 0.5}, "run": {"out": "x"}})
    assert resolve({}).differences(changed) == ["prune.sparsity was 0.9 and is now 0.5"]


def test_gates_on_a_baseline_are_not_among_the_limits():
    gates = resolve({"gates": {"min_speedup": 2, "baseline_size_increase": None}}).gates
    assert {name: limit for name, limit in gates.limits().items() if limit} == {"min_speedup": 2}
    assert (gates.baseline_accuracy_drop, gates.baseline_size_increase) == (0.5, None)


def test_steps_default_to_half_of_the_epochs():
    assert resolve({"finetune": {"epochs": 9}}).prune_steps == 4
    assert resolve({"finetune": {"epochs": 0}}).prune_steps == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prune": {"sparsty": 0.9}}, "'prune.sparsty': did you mean 'prune.sparsity'"),
        ({"prunes": {"sparsity": 0.9}}, "'prunes': did you mean 'prune'"),
        ({"prune": {"sparsity": 1.0}}, "prune.sparsity must be less than 1, got 1.0"),
        ({"prune": {"sparsity": 0}}, "prune.sparsity must be greater than 0, got 0"),
        ({"prune": {"sparsity": float("nan")}}, "prune.sparsity"),
        ({"prune": {"criterion": "woodfishr"}}, "did you mean 'woodfisher'"),
        ({"prune": {"pattern": "two:four"}}, "unstructured, channel, N:M"),
        ({"prune": {"damping": -1e-5}}, "prune.damping must be greater than 0"),
        ({"prune": {"block": 0}}, "prune.block"),
        ({"finetune": {"epochs": -1}}, "finetune.epochs must be greater than or equal to 0"),
        ({"finetune": {"epochs": 2}, "prune": {"steps": 3}}, r"at most finetune.epochs \(2\)"),
        ({"finetune": {"epochs": 0}, "prune": {"steps": 2}}, r"finetune.epochs \(0\) or 1, got 2"),
        ({"data": {"std": [0.5, 0.0]}}, "std must be > 0"),
        ({"data": {"mean": [0, 0], "std": [1, 1, 1]}}, "mean has 2 values and std 3"),
        ({"data": {"augment": ["crop", "resized-crop"]}}, "not both"),
        ({"export": {"variants": ["int4"]}}, r"export\.variants"),
        ({"export": {"variants": ["ort", "ort"]}}, "variants must differ, got ort, ort"),
        ({"export": {"targets": ["linux-x86"]}}, "'linux-x86': did you mean 'linux-x86_64'"),
        ({"export": {"targets": ["macos-arm64"] * 2}}, "platforms that differ"),
        ({"export": {"targets": []}}, "platforms that differ, got "),
        ({"export": {"pick": "smalest"}}, "did you mean 'smallest'"),
        ({"export": {"calibration_samples": 0}}, "calibration_samples must be greater than 0"),
        ({"validate": {"runs": 99}}, "validate.runs must be greater than or equal to 100"),
    ],
)
def test_values_that_break_a_rule_are_named(values, message):
    with pytest.raises(InputError, match=message) as raised:
        resolve(values)
    assert "\n" not in str(raised.value)
