"""Tensors of a state in a folder of their own, as ``torch.distributed.checkpoint`` has them.

Each of several processes writes its share: its pieces of what is shared out, and its part of what
all of them have alike. Any number of processes reads them, each what it needs.

The files are safetensors, with the place of each piece in the whole as JSON beside it, and reading
them runs no code. That is PyTorch's writer for Hugging Face's form of checkpoints; its usual one
keeps what it knows of the files in a pickle, which could run anything, and is not used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...support.errors import InputError, first_line

Change = Callable[[str, Tensor], Tensor]
"""From the path of a tensor and the tensor to what takes its place."""


def changed(tree: Any, change: Change, path: str = "") -> Any:
    """Return nested dicts and lists with their tensors changed; paths are keys and numbers."""
    if isinstance(tree, Tensor):
        return change(path, tree)
    if isinstance(tree, dict):
        return {key: changed(value, change, f"{path}/{key}") for key, value in tree.items()}
    if isinstance(tree, list):
        return [changed(value, change, f"{path}/{at}") for at, value in enumerate(tree)]
    return tree


def apart(tree: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested dicts and lists into what is small, and the tensors by their path.

    In place of a tensor stands one of the same shape, strides and type on ``meta``, which holds
    nothing; single numbers stay.
    """
    found: dict[str, Tensor] = {}

    def take(path: str, tensor: Tensor) -> Tensor:
        if tensor.dim() == 0 or not tensor.numel():
            return tensor
        found[path] = tensor.detach()
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")

    return changed(tree, take), found


def write_pieces(folder: Path, tensors: Mapping[str, Tensor], group: Any) -> dict[str, int]:
    """Write tensors into an empty folder; all processes of a group do so together.

    When it returns, the share of this process is on the disk.

    Args:
        folder: is there, the same for all.
        tensors: plain ones are the same in all processes; of a ``DTensor`` each has a piece.
        group: the process group; its collectives take objects of the CPU.

    Returns:
        The bytes of the files of this process, by name.

    Raises:
        InputError: naming the rank that could not write, and why.
    """
    from torch.distributed import get_rank
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(_writable(tensors), storage_writer=writer, planner=planner, process_group=group)
    except CheckpointException as error:
        rank, (cause, _) = next(iter(error.failures.items()))
        if not isinstance(cause, Exception):  # an interrupt
            raise cause from None
        why = getattr(cause, "strerror", None) or first_line(cause)
        raise InputError(f"rank {rank} cannot write {folder}: {why}") from None
    mine = folder.glob(f"shard-{get_rank(group) + 1:05}-*")
    return {file.name: file.stat().st_size for file in mine}


def read_pieces(folder: Path, files: Mapping[str, int], into: Mapping[str, Tensor]) -> None:
    """Fill tensors with what a folder holds under their names.

    Args:
        folder: was written by any number of processes.
        files: the bytes of each file in it.
        into: tensors of the same shapes; of a ``DTensor`` the piece of this process is read.

    Raises:
        ValueError: when a file or a tensor is not there or not whole.
    """
    there = {file.name: file.stat().st_size for file in folder.glob("*.safetensors")}
    if there != dict(files):
        raise ValueError(f"the files in {folder} are not those that were written")
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    reader = HuggingFaceStorageReader(str(folder))
    try:
        reader.read_metadata()  # `load` would print what is wrong with it
        with warnings.catch_warnings(action="ignore"):
            load({**into}, storage_reader=reader, planner=planner, no_dist=True)
    except CheckpointException as error:
        _, (cause, _) = next(iter(error.failures.items()))
        if not isinstance(cause, Exception):
            raise cause from None
        raise ValueError(first_line(cause)) from None
    except Exception as error:  # damaged files fail in many ways
        raise ValueError(first_line(error)) from None


def _writable(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the tensors laid out in rows, none of which shares memory with another."""
    seen, found = set(), {}
    for name, tensor in tensors.items():
        plain = tensor.contiguous()
        place = plain.to_local().data_ptr() if hasattr(plain, "to_local") else plain.data_ptr()
        found[name] = plain.clone() if place in seen else plain
        seen.add(place)
    return found
