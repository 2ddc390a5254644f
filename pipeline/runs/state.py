"""What a run needs to continue: one file, replaced whole after each unit of work.

Of several processes, each writes its share of the tensors into a folder, and the file names it:
what it names was there whole before.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...support.errors import InputError
from ...support.files import read_bytes, write_bytes, write_text
from .directory import FOLDERS
from .pieces import changed, read_pieces

FORMAT = 1
Event = dict[str, Any]
Room = Callable[[Tensor], Tensor]


@dataclass
class State:
    """The state of a run after ``done`` units of its timeline.

    ``fingerprint`` tells the dense weights and the data that the run began with; ``history`` is
    the content of ``log.jsonl``; ``asked`` has the flags beside the recipe that it was given;
    ``plan`` has the sparsities that were found for a target of time; ``within`` tells how far the
    epoch that is under way has come; ``pieces`` has the folder of tensors that are not in the
    checkpoint itself, and its ``files`` with their bytes. Such tensors are on ``meta`` until
    :meth:`fill`.
    """

    recipe_digest: str
    fingerprint: dict[str, Any]
    device: str
    done: int = 0
    model: dict[str, Tensor] = field(default_factory=dict)
    masks: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    plan: dict[str, Any] | None = None
    within: dict[str, Any] = field(default_factory=dict)
    pieces: dict[str, Any] = field(default_factory=dict)

    def save(self, checkpoint: Path, log: Path) -> None:
        """Write the checkpoint, then the log that belongs to it; each appears whole."""
        content = {f.name: getattr(self, f.name) for f in fields(self)}
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **content}, buffer)
        write_bytes(checkpoint, buffer.getvalue())
        self.write_log(log)

    def write_log(self, log: Path) -> None:
        """Write the log that belongs to this state, unless it is there.

        What ended a run between its checkpoint and its log has left the log of the state before.
        """
        content = "".join(json.dumps(event) + "\n" for event in self.history)
        if not log.is_file() or log.read_bytes() != content.encode():
            write_text(log, content)

    def fill(self, checkpoint: Path, *names: str, room: Room | None = None) -> None:
        """Read the tensors of some fields that are in the folder beside the checkpoint.

        Args:
            checkpoint: from which this was read.
            names: of fields.
            room: gives what a tensor is read into; None: one of the same strides on the CPU.

        Raises:
            InputError: when they are not there or not whole.
        """
        into: dict[str, Tensor] = {}
        left = sum(self.pieces.get("files", {}).values())

        def filled(path: str, tensor: Tensor) -> Tensor:
            nonlocal left
            if not tensor.is_meta:
                return tensor
            left -= tensor.nbytes
            if left < 0:
                raise ValueError("it is larger than the files that hold it")
            into[path] = (room or _on_cpu)(tensor)
            return into[path]

        try:
            found = changed({name: getattr(self, name) for name in names}, filled)
            if into:
                folder, files = self.pieces["folder"], self.pieces["files"]
                read_pieces(checkpoint.parent / folder, files, into)
        except Exception:
            raise damaged(checkpoint) from None
        for name, value in found.items():
            setattr(self, name, value)


def load_state(checkpoint: Path) -> State:
    """Read a checkpoint without running code from it; the optimizer's tensors may be left to fill.

    Raises:
        InputError: when it is not a checkpoint of this program's format.
    """
    raw = read_bytes(checkpoint, "checkpoint")
    try:
        with warnings.catch_warnings(action="ignore"):
            content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        state = State(**content)
        _check_pieces(state.pieces)
    except Exception:  # damaged files fail in many ways
        raise damaged(checkpoint) from None
    state.fill(checkpoint, "model", "masks")
    return state


def _check_pieces(pieces: dict[str, Any]) -> None:
    sizes = pieces.get("files", {}).values()
    if pieces.get("folder", FOLDERS[0]) not in FOLDERS or not all(type(n) is int for n in sizes):
        raise ValueError("other pieces")


def _on_cpu(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cpu")


def check_state(
    state: State, checkpoint: Path, module: nn.Module, weights: Mapping[str, Tensor], units: int
) -> None:
    """Refuse a state that does not belong to this network and timeline.

    Args:
        state: what was read from ``checkpoint``.
        module: the network.
        weights: its prunables by name.
        units: length of the run's timeline.

    Raises:
        InputError: when a part is missing or of another form.
    """
    if not isinstance(state.asked, list) or not all(isinstance(flag, str) for flag in state.asked):
        raise damaged(checkpoint)
    if not 0 <= state.done <= units or len(state.history) != state.done + 1:
        raise damaged(checkpoint)
    if not isinstance(state.within, dict):
        raise damaged(checkpoint)
    if state.done == 0 and not state.within:
        return
    network = {name: tensor.shape for name, tensor in module.state_dict().items()}
    masks = {name: (weight.shape, torch.bool) for name, weight in weights.items()}
    if (
        {name: tensor.shape for name, tensor in state.model.items()} != network
        or {name: (mask.shape, mask.dtype) for name, mask in state.masks.items()} != masks
        or not {"state", "param_groups"} <= set(state.optimizer)
    ):
        raise damaged(checkpoint)


def damaged(checkpoint: Path) -> InputError:
    """Return the error of a checkpoint that is not whole."""
    return InputError(
        f"checkpoint {str(checkpoint)!r} cannot be read: it is damaged or of another version; "
        "start again with --overwrite"
    )


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 in hex of names, shapes, types and values."""
    result = hashlib.sha256()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        result.update(f"{name} {tuple(plain.shape)} {plain.dtype};".encode())
        result.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return result.hexdigest()
