"""Where tensors live and in which layout and precision they are computed on."""

from __future__ import annotations

import os
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...support.errors import InputError
from ...support.memory import available_memory
from ...support.nests import Nest, each

Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True)
class Placement:
    """A device and the precision of training on it; images are laid out channels-last."""

    device: torch.device
    bfloat16: bool = False

    def network(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, 4-d weights channels-last."""
        module.to(self.device)
        for value in (*module.parameters(), *module.buffers()):
            if value.dim() == 4:
                value.data = value.data.to(memory_format=torch.channels_last)
        return module

    def tensor(self, batch: Nest) -> Nest:
        """Move the inputs of a batch to the device, images channels-last."""
        return each(self._placed, batch)

    def targets(self, batch: Nest) -> Nest:
        """Move the targets of a batch to the device."""
        return each(lambda t: t.to(self.device, non_blocking=True), batch)

    def _placed(self, tensor: Tensor) -> Tensor:
        moved = tensor.to(self.device, non_blocking=True)
        if moved.dim() == 4:
            return moved.contiguous(memory_format=torch.channels_last)
        return moved

    def free_memory(self) -> int:
        """Return the bytes that are free on the device, or in main memory on the CPU."""
        if self.device.type == "cuda":
            return int(torch.cuda.mem_get_info(self.device)[0])
        return available_memory()

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which a training forward pass runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


def place(device: str, precision: Precision = "auto") -> Placement:
    """Find the device that the user named, and make computation on it repeatable.

    Args:
        device: ``"auto"`` (the first CUDA GPU where there is one), ``"cpu"``, ``"cuda"`` or
            ``"cuda:N"``.
        precision: ``"auto"`` means bfloat16 autocast on CUDA and float32 elsewhere.

    Raises:
        InputError: when the name is unknown or the device is not there.
    """
    found = find_device(device)
    if found.type == "cuda":
        torch.cuda.set_device(found)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        # Some CUDA kernels have no repeatable form; the user can do nothing about it.
        warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation")
        if precision == "auto" and torch.cuda.is_bf16_supported():
            precision = "bfloat16"
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic: Any = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # nothing reads it
    return Placement(found, bfloat16=precision == "bfloat16")


def find_device(device: str) -> torch.device:
    """Return the device that the user named; see :func:`place`.

    Of several processes that torchrun started on a machine, each has a GPU of its own.

    Raises:
        InputError: when the name is unknown or the device is not there.
    """
    local, processes = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "WORLD_SIZE"))
    if processes > 1 and device.startswith("cuda:"):
        raise InputError(f"device {device!r} is one for {processes} ranks: use --device cuda")
    if device == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    own = f"cuda:{local}" if device in ("auto", "cuda") else device
    kind, _, number = own.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= count:
        raise InputError(
            f"device {device!r} is not there: PyTorch sees {count} CUDA GPUs; use --device cpu"
        )
    return torch.device("cuda", int(number or 0))
