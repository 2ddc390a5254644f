from __future__ import annotations

import sys
import types
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from wfpipe.models.registry import NETWORKS, LoadedModel, load_model
from wfpipe.tests.refusal import refusal_of

FACTORY = """
import torch
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double().train()

def lazy():
    return nn.LazyLinear(3)

def meta():
    return nn.Linear(4, 3, device="meta")

def exported():
    program = torch.export.export(nn.Linear(4, 3), (torch.ones(1, 4),))
    return program.module()
"""


def load(name: str, weights: str | None = None, **changes: Any) -> LoadedModel:
    return load_model(name, weights, **{"input_shape": (3, 32, 32), "classes": 10, **changes})


def refusal(name: str, weights: str | None = None, **changes: Any) -> str:
    return refusal_of(lambda: load(name, weights, **changes))


def state(model: LoadedModel) -> dict[str, Tensor]:
    return dict(model.module.state_dict())


@pytest.fixture
def factory_file(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(FACTORY)
    return str(tmp_path / "net.py")


@pytest.mark.parametrize("name", NETWORKS)
def test_every_built_in_network_fits_the_input_and_the_classes(name: str) -> None:
    model = load(name, "random", input_shape=(2, 32, 32), classes=4)
    with torch.inference_mode():
        assert model.module(torch.zeros(2, 2, 32, 32)).shape == (2, 4)
    assert (model.name, model.weights) == (name, "random")


@pytest.mark.parametrize("name", ["resnet20", "mlp"])
def test_random_weights_are_fixed_by_the_seed_and_leave_the_generator_alone(name: str) -> None:
    before = torch.get_rng_state()
    first, again, other = (state(load(name, "random", seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_network_comes_in_evaluation_mode_and_float32(factory_file: str) -> None:
    for model in (load("resnet20", "random"), load(f"{factory_file}:build")):
        assert not any(part.training for part in model.module.modules())
        assert {parameter.dtype for parameter in model.module.parameters()} == {torch.float32}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_loaded_from_a_file(tmp_path: Path, suffix: str) -> None:
    source = state(load("resnet20", "random", seed=5))
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{key}": value for key, value in source.items()}}, path)
    else:
        safetensors.torch.save_file(source, path)
    model = load("resnet20", str(path))
    assert model.weights == str(path)
    assert all(torch.equal(value, source[key]) for key, value in state(model).items())


def test_weights_of_another_architecture_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state(load("resnet20", "random")), path)
    message = refusal("resnet32", str(path))
    assert message.startswith(f"weights file {str(path)!r} does not fit the model: 60 missing: ")
    assert "layer1.3.conv1.weight" in message


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"digits-cnn"}))
def test_a_network_without_weights_is_an_error_that_says_what_to_pass(name: str) -> None:
    message = refusal(name)
    assert f"model {name!r} brings no weights" in message
    assert "--weights FILE.safetensors|.pth|.pt|.ckpt|.tar" in message
    assert "--weights random to prune an untrained network" in message


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_library_network_without_weights_is_an_error_that_names_pretrained(library: str) -> None:
    message = refusal(f"{library}:resnet18")
    assert "--weights pretrained" in message
    assert "--weights random" in message


def test_an_unknown_model_is_answered_with_the_nearest_name_and_the_other_forms() -> None:
    message = refusal("resnet-20", "random", options={"hidden": 3})
    assert "unknown model 'resnet-20': did you mean 'resnet20'?" in message
    assert "timm:NAME, torchvision:NAME, hf:NAME, hf:FOLDER, FILE.py:FACTORY" in message


def test_an_archive_of_torch_export_is_refused_with_what_to_pass_instead(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").write_bytes(b"whatever")
    message = refusal(str(tmp_path / "net.pt2"))
    assert "can run code from the file" in message
    assert "pass FILE.py:FACTORY" in message


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"mlp"}))
def test_an_image_network_refuses_features(name: str) -> None:
    message = refusal(name, "random", input_shape=(784,))
    assert message == (
        f"model {name!r} takes images (channels, height, width), got samples of (784,)"
    )


def test_options_reach_the_network() -> None:
    model = load("mlp", "random", options={"hidden": [7], "bias": False})
    shapes = [tuple(value.shape) for value in model.module.parameters()]
    assert shapes == [(7, 3 * 32 * 32), (10, 7)]


def test_an_unknown_option_is_answered_with_the_known_ones() -> None:
    message = refusal("mlp", "random", options={"hiden": 3})
    assert message == (
        "unknown option of model 'mlp' 'hiden': did you mean 'hidden'? known: bias, hidden."
    )


def test_options_of_a_network_that_takes_none_are_refused(factory_file: str) -> None:
    for name, weights in (("resnet20", "random"), (f"{factory_file}:build", None)):
        message = refusal(name, weights, options={"depth": 3})
        assert message == f"model {name!r} takes no options, got 'depth'"


def test_a_network_too_large_for_the_memory_is_refused() -> None:
    message = refusal("mlp", "random", options={"hidden": [2**30, 2**30]})
    assert message.startswith("model 'mlp' is too large for the memory")
    assert "hidden=[1073741824, 1073741824]" in message


def test_pretrained_is_refused_for_models_that_no_library_trained(factory_file: str) -> None:
    for name in ("resnet20", "digits-cnn", f"{factory_file}:build"):
        message = refusal(name, "pretrained")
        assert message == (
            f"weights 'pretrained' are for timm:, torchvision: and hf: models, not for {name!r}"
        )


def test_the_module_of_a_factory_is_taken_as_it_comes(factory_file: str) -> None:
    model = load(f"{factory_file}:build", seed=1)
    assert model.weights == "built-in"
    assert model.module(torch.zeros(2, 4)).shape == (2, 3)


def test_the_module_of_a_factory_takes_weights_from_a_file(
    factory_file: str, tmp_path: Path
) -> None:
    weights = {"1.weight": torch.ones(3, 4), "1.bias": torch.zeros(3)}
    torch.save(weights, tmp_path / "w.pt")
    model = load(f"{factory_file}:build", str(tmp_path / "w.pt"))
    assert torch.equal(state(model)["1.weight"], weights["1.weight"])


def test_random_weights_of_a_factory_are_fixed_by_the_seed(factory_file: str) -> None:
    first, again = (state(load(f"{factory_file}:build", "random", seed=2)) for _ in range(2))
    assert torch.equal(first["1.weight"], again["1.weight"])


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("lazy", "the shape of 'weight' is not known yet"),
        ("meta", "cannot be brought to the CPU in float32 and evaluation mode"),
        ("exported", "cannot be brought to the CPU in float32 and evaluation mode"),
    ],
)
def test_a_module_that_cannot_be_worked_with_is_refused(
    factory_file: str, factory: str, reason: str
) -> None:
    assert reason in refusal(f"{factory_file}:{factory}")


def test_a_library_network_gets_weights_as_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    timm = types.ModuleType("timm")
    timm.create_model = lambda name, pretrained, num_classes: nn.Linear(4, num_classes)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", timm)
    first, again = (load("timm:tiny", "random", seed=2) for _ in range(2))
    assert torch.equal(state(first)["weight"], state(again)["weight"])
    assert load("timm:tiny", "pretrained").weights == "pretrained"
    torch.save({"weight": torch.ones(10, 4), "bias": torch.ones(10)}, tmp_path / "w.pt")
    assert state(load("timm:tiny", str(tmp_path / "w.pt")))["weight"].sum() == 40


@pytest.mark.parametrize(
    "changes", [{"input_shape": (3, 8, 8)}, {"input_shape": (64,)}, {"classes": 9}]
)
def test_the_weights_of_the_demo_are_refused_for_other_data(changes: dict[str, Any]) -> None:
    message = refusal("digits-cnn", **{"input_shape": (1, 8, 8), "classes": 10, **changes})
    assert "the weights of 'digits-cnn' are for samples of (1, 8, 8) and 10 classes" in message
    assert "pass --weights FILE, or --weights random" in message


def test_the_demo_network_brings_its_weights() -> None:
    first, again = (load("digits-cnn", input_shape=(1, 8, 8), seed=seed) for seed in (0, 1))
    assert first.weights == "built-in"
    assert all(torch.equal(value, state(again)[key]) for key, value in state(first).items())


def test_the_weights_of_the_demo_are_small() -> None:
    path = files("wfpipe.models").joinpath("digits_cnn.safetensors")
    assert len(path.read_bytes()) < 500_000


def test_the_demo_network_knows_the_digits() -> None:
    from wfpipe.pipeline.data.sources.digits import load_digits

    digits = load_digits()
    module = load("digits-cnn", input_shape=(1, 8, 8)).module
    images = torch.from_numpy(digits.test_images).unsqueeze(1).float() / 255
    with torch.inference_mode():
        answers = module(images).argmax(1)
    assert (answers == torch.from_numpy(digits.test_labels)).float().mean() > 0.97


def test_what_was_taken_of_a_checkpoint_is_told(tmp_path: Path) -> None:
    raw, average = (state(load("mlp", "random", seed=seed)) for seed in (5, 6))
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": raw, "ema": {f"model.{k}": v for k, v in average.items()}}, path)
    model = load("mlp", str(path))
    assert torch.equal(next(model.module.parameters()), next(iter(average.values())))
    assert model.notes == (
        "averaged weights (ema); model.ema=false takes the others",
        "the prefix 'model.' is dropped from their names",
    )
    assert load("mlp", str(path), averaged=False).notes == ()
