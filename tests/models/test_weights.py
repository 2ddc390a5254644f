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

from wfpipe.models.weights import read_weights
from wfpipe.support.errors import InputError
from wfpipe.tests.refusal import refusal_of


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    return read_weights(path).tensors


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


@pytest.mark.parametrize("content", [{}, {"epoch": 3, "rng": {"cpu": torch.ones(1)}}])
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
        torch.ones(1).expand(1 << 40),
        torch.empty(3, device="meta"),
    ],
    ids=["sparse", "expanded", "meta"],
)
def test_a_tensor_that_is_not_plain_is_named(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"odd": tensor}, tmp_path / "w.pth")
    assert "'odd' must be a dense tensor" in refusal(tmp_path / "w.pth")


def test_the_one_mapping_of_matrices_is_taken_under_any_key(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save(
        {"net": state, "acc": torch.tensor(0.9), "rng": {"cpu": torch.ones(9)}}, tmp_path / "w"
    )
    assert same(read_state_dict(tmp_path / "w"), state)


def test_several_state_dicts_are_named(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"net_g": state, "net_d": state}, tmp_path / "w")
    assert "holds several state dicts (net_g, net_d)" in refusal(tmp_path / "w")


@pytest.mark.parametrize("key", ["state_dict_ema", "ema_state_dict", "model_ema", "ema"])
@pytest.mark.parametrize("nested", [False, True])
def test_averaged_weights_are_taken_and_named(tmp_path: Path, key: str, nested: bool) -> None:
    raw, average = network().state_dict(), network().state_dict()
    torch.save({"state_dict": raw, key: {"module": average} if nested else average}, tmp_path / "w")
    taken, others = read_weights(tmp_path / "w"), read_weights(tmp_path / "w", averaged=False)
    assert same(taken.tensors, average)
    assert same(others.tensors, raw)
    assert taken.notes == (f"averaged weights ({key}); model.ema=false takes the others",)
    assert not others.notes


def test_an_average_without_names_is_said_to_be_passed_over(tmp_path: Path) -> None:
    state = network().state_dict()
    torch.save({"model": state, "ema": {"shadow_params": [torch.ones(2)]}}, tmp_path / "w")
    weights = read_weights(tmp_path / "w")
    assert same(weights.tensors, state)
    assert weights.notes == ("ema holds no tensors by name and is passed over",)


@pytest.mark.parametrize(
    ("file", "remedy"), [(".metadata", "dcp_to_torch"), ("zero_to_fp32.py",) * 2]
)
def test_a_folder_of_many_processes_gets_the_remedy(tmp_path: Path, file: str, remedy: str) -> None:
    (tmp_path / file).touch()
    assert remedy in refusal(tmp_path)
