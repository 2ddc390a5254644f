from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from wfpipe.models.unwrapping import fold, unwrap
from wfpipe.support.errors import InputError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def distributed(module: nn.Module) -> nn.Module:
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        return nn.parallel.DistributedDataParallel(module)
    finally:
        torch.distributed.destroy_process_group()


def compiled(module: nn.Module) -> nn.Module:
    return cast("nn.Module", torch.compile(module, backend="eager"))


def with_compiled_parts(module: nn.Module) -> nn.Module:
    assert isinstance(module, nn.Sequential)
    module[0] = compiled(module[0])
    last: nn.Module = module[2]
    last.compile(backend="eager")
    return module


@pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        nn.DataParallel,
        lambda module: compiled(nn.DataParallel(module)),
        distributed,
        with_compiled_parts,
    ],
)
def test_wrappers_of_training_are_taken_off(wrap: Callable[[nn.Module], nn.Module]) -> None:
    inner = unwrap(wrap(network()), "net")
    assert inner.state_dict().keys() == network().state_dict().keys()
    x = torch.rand(2, 4)
    assert torch.equal(inner(x), network()(x))


@pytest.mark.parametrize("part", ["whole", "part"])
def test_a_script_module_is_refused_by_name(part: str) -> None:
    with pytest.warns(DeprecationWarning, match="jit.script"):
        script = torch.jit.script(nn.Linear(4, 3))
    module = script if part == "whole" else nn.Sequential(script)
    with pytest.raises(InputError, match=r"'net'.*ScriptModule.*Python module"):
        unwrap(module, "net")


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


class Shaken(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight + torch.rand(1)


def old(norm: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    def apply(layer: nn.Module) -> nn.Module:
        with pytest.warns(FutureWarning):
            return norm(layer)

    return apply


def pruned(layer: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.5)
    found: nn.Module = prune.random_unstructured(layer, "weight", 0.2)
    return found


COMPUTED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "WeightNorm": parametrizations.weight_norm,
    "SpectralNorm": parametrizations.spectral_norm,
    "Orthogonal": parametrizations.orthogonal,
    "weight_norm": old(nn.utils.weight_norm),
    "spectral_norm": nn.utils.spectral_norm,
    "torch.nn.utils.prune": pruned,
    "Halved": lambda layer: parametrize.register_parametrization(layer, "weight", Halved()),
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_are_folded_and_compute_the_same(kind: str) -> None:
    module = network()
    COMPUTED[kind](module[2].train())
    module.eval()
    x = torch.rand(2, 4)
    wanted = module(x).detach()
    assert fold(module, "net") == [f"folded {kind} into the weights of 2"]
    assert module.state_dict().keys() == network().state_dict().keys()
    assert isinstance(module[2].weight, nn.Parameter)
    assert torch.allclose(module(x), wanted, atol=1e-6)


def test_a_weight_that_is_another_at_each_call_is_refused_by_name() -> None:
    module = network()
    parametrize.register_parametrization(module[2], "weight", Shaken())
    with pytest.raises(InputError, match=r"computed weights of 2 cannot be folded.*another one"):
        fold(module, "net")
