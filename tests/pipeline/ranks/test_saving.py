from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from wfpipe.pipeline.ranks.group import Ranks, alone
from wfpipe.pipeline.ranks.saving import save_together
from wfpipe.pipeline.runs.directory import FOLDERS, RunDirectory
from wfpipe.pipeline.runs.state import State, load_state
from wfpipe.support.errors import InputError
from wfpipe.tests.pipeline.ranks.together import together

Saved = tuple[Path, list[tuple[dict[str, Tensor], str]]]


def make(done: int = 0) -> State:
    generator = torch.Generator().manual_seed(done)
    image = torch.randn(2, 3, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    tied = torch.randn(3, 2, generator=generator)
    return State(
        recipe_digest="abc",
        fingerprint={},
        device="cpu",
        done=done,
        model={"image": image, "tied": tied, "again": tied, "count": torch.tensor(7)},
        masks={"image": image > 0},
        optimizer={
            "state": {
                0: {"step": torch.tensor(3.0), "momentum_buffer": image.clone()},
                1: {"momentum_buffer": torch.randn(5, 3, generator=generator)},
                2: {"momentum_buffer": torch.randn(1, generator=generator)},
            },
            "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99), "params": [0, 1, 2]}],
        },
    )


def save_on_two(ranks: Ranks, folder: str) -> tuple[dict[str, Tensor], str]:
    """Save two states, with pieces of unequal size in the second; read pieces of it again.

    Then save on a disk that is full where rank 1 writes; return the pieces, and what is said.
    """
    directory = RunDirectory(Path(folder))
    state = make(1)
    save_together(state, directory, ranks)
    later = make(2)
    later.pieces = state.pieces
    mesh = init_device_mesh("cpu", (ranks.size,))
    for number in (1, 2):
        entry = later.optimizer["state"][number]
        whole = entry["momentum_buffer"]
        entry["momentum_buffer"] = distribute_tensor(whole, mesh, [Shard(0)])
    save_together(later, directory, ranks)
    ranks.wait()
    read = load_state(directory.checkpoint)

    def piece(tensor: Tensor) -> Tensor:
        return distribute_tensor(torch.zeros(tensor.shape), mesh, [Shard(0)])

    read.fill(directory.checkpoint, "optimizer", room=piece)
    found = {f"{n}": read.optimizer["state"][n]["momentum_buffer"] for n in (0, 1, 2)}
    pieces = {name: tensor.to_local() for name, tensor in found.items()}
    with pytest.MonkeyPatch.context() as patch:
        if ranks.rank == 1:
            patch.setattr(FileSystem, "create_stream", full)
        with pytest.raises(InputError) as refused:
            save_together(read, directory, ranks)
    ranks.wait()
    directory.remove_pieces(but=later.pieces["folder"])
    return pieces, str(refused.value)


def full(*given: object) -> NoReturn:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    folder = tmp_path_factory.mktemp("saved")
    return folder, together(save_on_two, str(folder))


@pytest.fixture
def copied(saved: Saved, tmp_path: Path) -> Path:
    shutil.copytree(saved[0], tmp_path / "run")
    return tmp_path / "run" / "checkpoint.pt"


def check_same(found: State, wanted: State) -> None:
    for name in ("model", "masks"):
        for key, value in getattr(wanted, name).items():
            other = getattr(found, name)[key]
            assert torch.equal(other, value), key
            assert other.stride() == value.stride(), key
    assert found.optimizer["param_groups"] == wanted.optimizer["param_groups"]
    for number, entry in wanted.optimizer["state"].items():
        for key, value in entry.items():
            assert torch.equal(found.optimizer["state"][number][key], value), (number, key)


def test_one_process_reads_what_ranks_wrote_together(copied):
    state = load_state(copied)
    state.fill(copied, "optimizer")
    check_same(state, make(2))


def test_each_rank_writes_a_share_and_only_the_last_state_is_kept(saved):
    there = sorted(path.name for path in saved[0].iterdir())
    assert there == ["checkpoint-b", "checkpoint.pt", "log.jsonl"]
    sizes = [file.stat().st_size for file in (saved[0] / "checkpoint-b").iterdir()]
    assert len(sizes) == 2
    assert (saved[0] / "checkpoint.pt").stat().st_size < 20_000


def test_each_rank_reads_its_pieces_alone(saved):
    for rank, (pieces, _) in enumerate(saved[1]):
        for number, entry in make(2).optimizer["state"].items():
            whole = entry["momentum_buffer"]
            half = -(-len(whole) // 2)
            assert torch.equal(pieces[f"{number}"], whole[rank * half : (rank + 1) * half])


def test_every_rank_says_which_of_them_could_not_write_and_the_state_before_stays(saved):
    for _, said in saved[1]:
        assert said == f"rank 1 cannot write {saved[0] / 'checkpoint-a'}: No space left on device"
    assert load_state(saved[0] / "checkpoint.pt").done == 2


def test_a_run_that_one_process_continues_has_one_file_again(copied):
    state = load_state(copied)
    state.fill(copied, "optimizer")
    save_together(state, RunDirectory(copied.parent), alone())
    assert not any((copied.parent / name).exists() for name in FOLDERS)
    check_same(load_state(copied), make(2))


@pytest.mark.parametrize("harm", ["cut", "gone", "bytes", "no folder", "elsewhere", "larger"])
def test_pieces_that_are_not_whole_are_refused(copied, harm, capfd):
    file = sorted((copied.parent / "checkpoint-b").iterdir())[1]
    if harm == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif harm == "gone":
        file.unlink()
    elif harm == "bytes":
        file.write_bytes(b"\xff" * file.stat().st_size)
    elif harm == "no folder":
        shutil.rmtree(file.parent)
    else:
        content = torch.load(copied, weights_only=True)
        if harm == "elsewhere":
            content["pieces"]["folder"] = "../other"
        else:
            content["model"]["tied"] = torch.empty(10**9, 10**6, device="meta")
        torch.save(content, copied)
    with pytest.raises(InputError, match="--overwrite"):
        load_state(copied)
    assert capfd.readouterr().err == ""
