"""Models by name: which network it is, and which weights it gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..support.errors import InputError, unknown
from .copying import copy_module, is_float32, to_float32
from .digits_cnn import DigitsCnn
from .fitting import fit_state_dict
from .given import is_given, not_given
from .hugging_face import build_from_hub, is_hub_model
from .mlp import Mlp
from .mobilenet_v1 import MobileNetV1
from .resnet import resnet18, resnet50
from .resnet_cifar import CifarResNet
from .sources import build_from_factory, build_from_library, is_factory
from .unwrapping import fold, inside, unwrap
from .weights import read_weights

_LIBRARIES = ("timm", "torchvision")
_OTHER_FORMS = "Other forms: timm:NAME, torchvision:NAME, hf:NAME, hf:FOLDER, FILE.py:FACTORY."
_DEMO_SHAPE, _DEMO_CLASSES = (1, 8, 8), 10


@dataclass(frozen=True)
class LoadedModel:
    """A network ready for work: float32, on the CPU, in evaluation mode.

    ``name`` is as given. ``weights`` is ``"built-in"`` (the model, or its factory, brought them),
    ``"pretrained"`` (the library of the model brought them), ``"random"``, or the path as given.
    ``notes`` say which of a file's tensors were taken, and how, where that is not plain, and
    ``folded`` which weights were computed and are plain ones now. ``untouched`` is the network as
    it came, with its weights, where numbers of it were moved or cast; None where none were.
    """

    module: nn.Module
    name: str
    weights: str
    notes: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    untouched: nn.Module | None = None


@dataclass(frozen=True)
class _Network:
    """A built-in network: what builds it, whether its input is an image, and its options.

    ``build`` takes the channels of the image, or the number of features, and the classes.
    """

    build: Callable[..., nn.Module]
    image: bool = True
    options: tuple[str, ...] = ()


NETWORKS: Mapping[str, _Network] = {
    "digits-cnn": _Network(DigitsCnn),
    "mlp": _Network(Mlp, image=False, options=("hidden", "bias")),
    "resnet20": _Network(partial(CifarResNet, 3)),
    "resnet32": _Network(partial(CifarResNet, 5)),
    "resnet44": _Network(partial(CifarResNet, 7)),
    "resnet56": _Network(partial(CifarResNet, 9)),
    "resnet18": _Network(resnet18),
    "resnet50": _Network(resnet50),
    "mobilenet_v1": _Network(MobileNetV1),
}


def load_model(
    name: str,
    weights: str | None = None,
    *,
    input_shape: tuple[int, ...],
    classes: int,
    options: Mapping[str, Any] | None = None,
    averaged: bool = True,
    seed: int = 0,
    given: nn.Module | None = None,
) -> LoadedModel:
    """Build the network ``name`` and give it its weights.

    ``digits-cnn`` brings trained weights. A module from ``FILE.py:FACTORY`` is taken as it comes
    when no weights are given: whether it is trained is up to the factory. Any other model without
    ``weights`` is an error, so that nothing is pruned from random weights unasked.

    Args:
        name: a built-in network, ``timm:NAME``, ``torchvision:NAME``, ``hf:NAME`` or ``hf:DIR``, or
            ``FILE.py:FACTORY``.
        weights: a weights file; ``"random"`` for an untrained network; ``"pretrained"`` for the
            own weights of timm or torchvision; ``None`` for those that the model brings.
        input_shape: shape of one prepared sample, without the batch: (channels, height, width) in
            pixels for an image network, anything for ``mlp``.
        classes: number of classes.
        options: arguments of a built-in network, such as ``hidden`` for ``mlp``.
        averaged: whether an exponential moving average in a weights file is taken.
        seed: fixes random weights.
        given: the network itself, which is copied; None: it is built by its name.

    Raises:
        InputError: naming what is unknown, missing or does not fit.
    """
    if given is None:
        _check_name(name)
    _check_weights(name, weights)
    _check_options(name, options or {})
    if name == "digits-cnn" and weights is None:
        _check_demo(input_shape, classes)
    if given is not None:
        module = copy_module(inside(given))
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = _build(name, weights, input_shape, classes, options or {})
    module = unwrap(module, name)
    untouched = None if is_float32(module) else copy_module(module).eval()
    _settle(module, name)
    notes: tuple[str, ...] = ()
    if name == "digits-cnn" and weights is None:
        with as_file(files(__package__).joinpath("digits_cnn.safetensors")) as path:
            load_weights(module, path)
    elif weights not in (None, "random", "pretrained"):
        notes = load_weights(module, Path(weights), averaged=averaged)
        if untouched is not None:
            load_weights(untouched, Path(weights), averaged=averaged)
    folded = tuple(fold(module, name))
    return LoadedModel(module, name, weights or "built-in", notes, folded, untouched)


def load_weights(module: nn.Module, path: Path, *, averaged: bool = True) -> tuple[str, ...]:
    """Give ``module`` the weights of a file; return what a user is told of them.

    Raises:
        InputError: when the file cannot be read, or does not fit.
    """
    weights = read_weights(path, averaged=averaged)
    source = f"weights file {str(path)!r}"
    return weights.notes + fit_state_dict(module, weights.tensors, source, averaged=averaged)


def _library_and_name(name: str) -> tuple[str, str] | None:
    library, colon, rest = name.partition(":")
    return (library, rest) if colon and library in _LIBRARIES else None


def _check_name(name: str) -> None:
    if name.endswith(".pt2"):
        raise InputError(
            f"model {name!r}: archives of torch.export are not taken, as loading one can run code "
            "from the file and its graph cannot be trained; pass FILE.py:FACTORY that builds the "
            "network, and --weights FILE.safetensors"
        )
    if is_given(name):
        raise not_given("model", name)
    known = name in NETWORKS or is_hub_model(name) or is_factory(name)
    if not (known or _library_and_name(name)):
        raise unknown("model", name, NETWORKS, more=_OTHER_FORMS)


def _check_weights(name: str, weights: str | None) -> None:
    from_library = _library_and_name(name) is not None
    brings = is_factory(name) or is_given(name) or is_hub_model(name) or name == "digits-cnn"
    if weights is None and not brings:
        own = ", --weights pretrained for those of the library" if from_library else ""
        raise InputError(
            f"model {name!r} brings no weights: pass --weights FILE.safetensors|.pth|.pt|.ckpt|.tar"
            f"{own}, or --weights random to prune an untrained network"
        )
    if weights == "pretrained" and not (from_library or is_hub_model(name)):
        raise InputError(
            f"weights 'pretrained' are for timm:, torchvision: and hf: models, not for {name!r}"
        )


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    known = NETWORKS[name].options if name in NETWORKS else ()
    for option in options:
        if not known:
            raise InputError(f"model {name!r} takes no options, got {str(option)!r}")
        if option not in known:
            raise unknown(f"option of model {name!r}", str(option), known)


def _check_demo(input_shape: tuple[int, ...], classes: int) -> None:
    if input_shape != _DEMO_SHAPE or classes != _DEMO_CLASSES:
        raise InputError(
            f"the weights of 'digits-cnn' are for samples of {_DEMO_SHAPE} and {_DEMO_CLASSES} "
            f"classes, got {input_shape} and {classes}: pass --weights FILE, or --weights random"
        )


def _build(
    name: str,
    weights: str | None,
    input_shape: tuple[int, ...],
    classes: int,
    options: Mapping[str, Any],
) -> nn.Module:
    if library := _library_and_name(name):
        pretrained = weights == "pretrained"
        return build_from_library(*library, pretrained=pretrained, classes=classes)
    if is_hub_model(name):
        return build_from_hub(name, pretrained=weights in (None, "pretrained"))
    if name not in NETWORKS:
        return build_from_factory(name)
    network = NETWORKS[name]
    if network.image and len(input_shape) != 3:
        raise InputError(
            f"model {name!r} takes images (channels, height, width), got samples of {input_shape}"
        )
    size = input_shape[0] if network.image else math.prod(input_shape)
    try:
        return network.build(size, classes, **options)
    except (RuntimeError, MemoryError):  # what PyTorch raises when there is no memory
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise InputError(
            f"model {name!r} is too large for the memory with samples of {input_shape}, "
            f"{classes} classes{', ' + given if given else ''}"
        ) from None


def _settle(module: nn.Module, name: str) -> None:
    """Bring the network into the state that :class:`LoadedModel` promises."""
    lazy = next((key for key, value in module.named_parameters() if is_lazy(value)), None)
    if lazy is not None:
        raise InputError(
            f"model {name!r}: the shape of {lazy!r} is not known yet: "
            "run the network once on a sample before the factory returns it"
        )
    try:
        to_float32(module).eval()
    except Exception as error:  # a module of the user may refuse either in any way
        reason = " ".join(str(error).split())
        raise InputError(
            f"model {name!r} cannot be brought to the CPU in float32 and evaluation mode: {reason}"
        ) from error
