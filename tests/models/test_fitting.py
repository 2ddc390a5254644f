from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from wfpipe.models.fitting import fit_state_dict
from wfpipe.support.errors import InputError


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def refusal(module: nn.Module, state: dict[str, Tensor]) -> str:
    with pytest.raises(InputError) as caught:
        fit_state_dict(module, state, "weights")
    return str(caught.value)


def test_fitting_copies_every_value() -> None:
    source, target = network(), network()
    fit_state_dict(target, source.state_dict(), "weights")
    assert same(dict(target.state_dict()), dict(source.state_dict()))


def test_fitting_keeps_the_precision_of_the_network() -> None:
    source, target = network().half(), network()
    fit_state_dict(target, source.state_dict(), "weights")
    weight = target.state_dict()["0.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, source.state_dict()["0.weight"].float())


def test_fitting_does_without_the_step_count_of_batch_norms() -> None:
    source, target = network(), network()
    state = {name: value for name, value in source.state_dict().items() if "num_" not in name}
    fit_state_dict(target, state, "weights")
    assert torch.equal(target.state_dict()["3.weight"], source.state_dict()["3.weight"])


def test_fitting_sees_through_a_wrapped_network() -> None:
    source, target = network(), nn.ModuleDict({"module": network()})
    fit_state_dict(target, source.state_dict(), "weights")
    assert torch.equal(target.state_dict()["module.3.bias"], source.state_dict()["3.bias"])


def test_a_misfit_lists_missing_unexpected_and_misshapen_names_and_changes_nothing() -> None:
    target = network()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    state = {name: value + 1 for name, value in network().state_dict().items()}
    state["3.weight"] = torch.ones(5, 16)
    state["head.weight"] = torch.ones(1)
    del state["0.bias"]
    with pytest.raises(InputError) as caught:
        fit_state_dict(target, state, "weights file 'w.pth'")
    assert str(caught.value) == (
        "weights file 'w.pth' does not fit the model: 1 missing: 0.bias; "
        "1 unexpected: head.weight; 1 of another shape: 3.weight (5, 16) instead of (3, 16)"
    )
    assert same(dict(target.state_dict()), before)


def test_a_misfit_lists_six_names_and_counts_the_others() -> None:
    target = nn.ModuleList([nn.Linear(1, 1, bias=False) for _ in range(10)])
    with pytest.raises(InputError) as caught:
        fit_state_dict(target, {"9.weight": torch.ones(1, 1)}, "weights")
    message = str(caught.value)
    assert "9 missing: 0.weight, 1.weight, 2.weight, 3.weight, 4.weight, 5.weight and 3" in message


def test_weights_of_which_no_name_matches_get_a_hint() -> None:
    with pytest.raises(InputError, match=r"no name matches .*another architecture"):
        fit_state_dict(network(), {"encoder.weight": torch.ones(1)}, "weights")


def test_names_with_control_characters_stay_on_one_line() -> None:
    with pytest.raises(InputError) as caught:
        fit_state_dict(network(), {"a\nb\x1b[2J": torch.ones(1)}, "weights")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.module.", "model.", "model.encoder._orig_mod."]
)
def test_any_one_prefix_is_dropped_and_what_stands_outside_is_named(prefix: str) -> None:
    source, target = network(), network()
    state = prefixed(prefix, source.state_dict()) | {"criterion.weight": torch.ones(3)}
    notes = fit_state_dict(target, state, "weights")
    assert same(dict(target.state_dict()), dict(source.state_dict()))
    dropped = prefix.replace("_orig_mod.", "")
    assert notes == (
        f"the prefix {dropped!r} is dropped from their names",
        "outside of the prefix and left out: criterion.weight",
    )


def test_the_parts_that_compiling_and_sharding_add_are_dropped_anywhere() -> None:
    source, target = nn.ModuleDict({"body": network()}), nn.ModuleDict({"body": network()})
    state = {
        name.replace("body.", "body._fsdp_wrapped_module._orig_mod."): value
        for name, value in source.state_dict().items()
    }
    assert fit_state_dict(target, state, "weights") == ()
    assert same(dict(target.state_dict()), dict(source.state_dict()))


def test_a_compiled_part_of_the_network_is_seen_through() -> None:
    source, target = network(), nn.Sequential(nn.ModuleDict({"_orig_mod": network()}))
    assert fit_state_dict(target, prefixed("0.", source.state_dict()), "weights") == ()
    assert torch.equal(target.state_dict()["0._orig_mod.3.bias"], source.state_dict()["3.bias"])


def test_a_network_that_is_there_twice_is_refused_unless_one_is_the_average() -> None:
    one, other, target = network(), network(), network()
    twice = prefixed("student.", one.state_dict()) | prefixed("teacher.", other.state_dict())
    assert "under the prefixes 'student.' and 'teacher.'" in refusal(target, twice)
    state = prefixed("online_model.", one.state_dict()) | prefixed("ema_model.", other.state_dict())
    for averaged, wanted in ((True, other), (False, one)):
        fit_state_dict(target, state, "weights", averaged=averaged)
        assert same(dict(target.state_dict()), dict(wanted.state_dict()))


def test_a_prefixed_misfit_is_told_in_the_names_of_the_network() -> None:
    state = prefixed("model.", network().state_dict())
    state["model.3.weight"] = torch.ones(5, 16)
    assert "1 of another shape: 3.weight (5, 16) instead of (3, 16)" in refusal(network(), state)


def tied() -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    layers[1].weight = layers[0].weight
    return layers


@pytest.mark.parametrize("stored", ["0.weight", "1.weight"])
def test_a_tied_tensor_may_be_stored_once(stored: str) -> None:
    source, target = tied(), tied()
    dropped = {"0.weight": "1.weight", "1.weight": "0.weight"}[stored]
    state = {name: value for name, value in source.state_dict().items() if name != dropped}
    fit_state_dict(target, state, "weights")
    assert torch.equal(target.state_dict()["1.weight"], source.state_dict()["0.weight"])


def test_tied_tensors_that_differ_are_refused() -> None:
    state = {**tied().state_dict(), "1.weight": torch.zeros(3, 3)}
    assert "1 tied in the network and different here: 0.weight = 1.weight" in refusal(tied(), state)


def test_masks_of_pruning_in_progress_are_applied() -> None:
    source, target = network(), network()
    prune.l1_unstructured(source[3], "weight", 0.5)
    wanted = source.state_dict()["3.weight_orig"] * source.state_dict()["3.weight_mask"]
    notes = fit_state_dict(target, source.state_dict(), "weights")
    assert torch.equal(target.state_dict()["3.weight"], wanted)
    assert int((wanted == 0).sum()) == 24
    assert notes == ("masks of torch.nn.utils.prune are applied: 3.weight",)


def test_a_buffer_that_the_network_computes_itself_may_be_in_the_file() -> None:
    module = nn.Linear(2, 2)
    module.register_buffer("places", torch.arange(3), persistent=False)
    state = {**module.state_dict(), "places": torch.arange(3)}
    assert fit_state_dict(module, state, "weights") == ()
    assert "1 unexpected: places" in refusal(module, {**state, "places": torch.zeros(3)})


def test_complex_values_are_never_cut_to_real_ones() -> None:
    module = nn.Module()
    module.register_buffer("turn", torch.ones(2))
    assert "1 complex where the network is real: turn" in refusal(
        module, {"turn": torch.ones(2, dtype=torch.complex64)}
    )
