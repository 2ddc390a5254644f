from __future__ import annotations

import io
import os
import pickle
import struct
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wfpipe.models.weights import fit_state_dict, read_state_dict
from wfpipe.support.errors import InputError
from wfpipe.tests.refusal import refusal_of


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def refusal(path: Path) -> str:
    message = refusal_of(lambda: read_state_dict(path))
    assert str(path) in message
    return message


class Trap:
    """Creates the file at ``path`` when it is unpickled by a loader that runs code."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".tar", ".pth.tar"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("new_format", [True, False])
def test_reads_a_checkpoint_wherever_the_state_dict_is(
    tmp_path: Path, suffix: str, wrapper: str | None, new_format: bool
) -> None:
    state = network().state_dict()
    content = state if wrapper is None else {"epoch": 3, wrapper: state, "optimizer": {"lr": 0.1}}
    path = tmp_path / f"weights{suffix}"
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    assert same(read_state_dict(path), state)


def test_reads_safetensors(tmp_path: Path) -> None:
    state = network().state_dict()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    assert same(read_state_dict(path), state)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_drops_the_prefixes_of_wrappers(tmp_path: Path, prefix: str) -> None:
    state = network().state_dict()
    torch.save({prefix + name: value for name, value in state.items()}, tmp_path / "w.pt")
    assert same(read_state_dict(tmp_path / "w.pt"), state)


def test_keeps_a_prefix_that_only_some_names_have(tmp_path: Path) -> None:
    state = {"module.weight": torch.ones(2), "head.weight": torch.ones(3)}
    torch.save(state, tmp_path / "w.pt")
    assert same(read_state_dict(tmp_path / "w.pt"), state)


def test_parameters_are_read_as_plain_tensors(tmp_path: Path) -> None:
    torch.save({"weight": nn.Parameter(torch.ones(2))}, tmp_path / "w.pt")
    weight = read_state_dict(tmp_path / "w.pt")["weight"]
    assert not weight.requires_grad


def test_no_warning_leaks_from_an_old_pickle_protocol(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "w.pt", pickle_protocol=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(read_state_dict(tmp_path / "w.pt")) == ["weight"]


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_missing_an_empty_and_a_non_file_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert refusal(path).endswith("does not exist")
    path.touch()
    assert refusal(path).endswith("is empty")
    path.unlink()
    path.mkdir()
    assert refusal(path).endswith("is not a file")


def png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"just text\n",
        b"conv1\nweights\nare here\n",
        b"import torch\nimport os\n\nprint(torch)\n",
        png(),
        b"\0" * 100,
        b"PK\x03\x04 not a zip",
        b"{}",
        b"\x80\x02.",
        b"]" * 200_000 + b".",
    ],
    ids=["text", "text-c", "python", "png", "zeros", "zip-head", "json", "pickle-end", "deep"],
)
def test_a_file_of_another_kind_is_called_that(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert "is damaged, or not a" in refusal(path)


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_called_damaged(
    tmp_path: Path, new_format: bool, keep: float
) -> None:
    path = tmp_path / "w.pth"
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=new_format)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert "is damaged, or not a checkpoint" in refusal(path)


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_a_truncated_safetensors_file_is_called_damaged(tmp_path: Path, keep: float) -> None:
    content = safetensors.torch.save(network().state_dict())
    path = tmp_path / "w.safetensors"
    path.write_bytes(content[: int(len(content) * keep)])
    assert "is damaged, or not a .safetensors file" in refusal(path)


def _weights_files() -> list[tuple[str, bytes]]:
    state = {"weight": torch.ones(3)}
    contents = [(".safetensors", safetensors.torch.save(state))]
    for new_format in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=new_format)
        contents.append((".pth", buffer.getvalue()))
    return contents


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(_weights_files()),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
def test_changed_bytes_give_tensors_or_one_line(
    file: tuple[str, bytes], changes: list[tuple[float, int]]
) -> None:
    suffix, changed = file[0], bytearray(file[1])
    for place, value in changes:
        changed[int(place * len(changed))] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"w{suffix}"
        path.write_bytes(changed)
        try:
            state = read_state_dict(path)
        except InputError as error:
            assert str(error).isprintable()  # noqa: PT017 - either outcome is right
        else:
            assert all(isinstance(value, Tensor) for value in state.values())


@pytest.mark.parametrize("new_format", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, new_format: bool
) -> None:
    path, proof = tmp_path / "w.pth", tmp_path / "ran"
    content = {"state_dict": network().state_dict(), "extra": Trap(proof)}
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    message = refusal(path)
    assert "would run code when loaded" in message
    assert "mkdir" in message
    assert "save model.state_dict() alone" in message
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists(), "the trap must work where nothing guards against it"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_plain_pickle_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, protocol: int
) -> None:
    path, proof = tmp_path / "w.pth", tmp_path / "ran"
    path.write_bytes(pickle.dumps([Trap(proof)], protocol=protocol))
    message = refusal(path)
    assert "would run code when loaded" in message
    assert "mkdir" in message
    assert not proof.exists()


def test_a_whole_pickled_network_is_refused_with_the_remedy(tmp_path: Path) -> None:
    torch.save(network(), tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert "torch.nn.modules.container.Sequential" in message
    assert "save model.state_dict() alone" in message


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_archive_is_refused_with_the_remedy(tmp_path: Path) -> None:
    traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    torch.jit.save(traced, tmp_path / "w.pt")
    message = refusal(tmp_path / "w.pt")
    assert "is a TorchScript archive" in message
    assert "save model.state_dict() alone" in message


@pytest.mark.parametrize("content", [{}, {"epoch": 3, "net": {"weight": torch.ones(1)}}])
def test_a_checkpoint_without_a_state_dict_shows_the_keys_it_has(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    torch.save(content, tmp_path / "w.pth")
    message = refusal(tmp_path / "w.pth")
    assert "holds no tensors at the top or under state_dict, model_state_dict, model" in message
    assert message.endswith(f"its keys: {', '.join(content) or 'none'}")


def test_a_tensor_or_list_alone_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "w.pth")
    assert "holds one list and no state dict" in refusal(tmp_path / "w.pth")


def test_a_safetensors_file_without_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(safetensors.torch.save({}))
    assert refusal(tmp_path / "w.safetensors").endswith("holds no tensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_a_weight_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    state = {"good": torch.ones(2), "bad": torch.tensor([0.0, value], dtype=torch.float64)}
    torch.save(state, tmp_path / "w.pth")
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        assert "'bad' has values that are not finite" in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.ones(3, dtype=torch.complex64),
        torch.ones(1).expand(1 << 40),
        torch.empty(3, device="meta"),
    ],
    ids=["sparse", "complex", "expanded", "meta"],
)
def test_a_tensor_that_is_not_plain_is_named(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"odd": tensor}, tmp_path / "w.pth")
    assert "'odd' must be a dense tensor" in refusal(tmp_path / "w.pth")


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
