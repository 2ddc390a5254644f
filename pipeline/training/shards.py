"""A network of which each rank holds a piece of every parameter while it is trained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...models.copying import copy_module
from ...support.errors import InputError, first_line
from ...support.nests import Nest
from ..pruning.tensors.masks import Masks, Weights
from ..ranks.group import Ranks
from ..runs.pieces import changed
from .replicas import Replica
from .sync_batchnorm import synchronised
from .units import units


class Shards:
    """Pieces of a network, by FSDP2 (Zhao et al. 2023, arXiv 2304.11277).

    A piece is a run of rows of a parameter, the same number on every rank but for the last ones.
    The optimizer works on pieces. In an epoch, parts of the network are gathered when their turn
    comes in the forward and in the backward pass, and ``module`` gives up its own weights; after
    it, it has them whole again.

    Args:
        module: the network, the same on every rank.
        ranks: at least two.
        device: where it is trained.
        sample: an input, to see which parts are called.

    Raises:
        InputError: when the network cannot be cut into pieces.
    """

    def __init__(self, module: nn.Module, ranks: Ranks, device: torch.device, sample: Nest) -> None:
        from torch.distributed.device_mesh import init_device_mesh

        self._module, self._ranks, self._device = module, ranks, device
        self._mesh = init_device_mesh(device.type, (ranks.size,))
        self._forms = {name: _form(p) for name, p in module.named_parameters()}
        self._units = units(module, sample)
        self.network = self._copy_in_pieces()
        self._parameters = dict(self.network.named_parameters())
        self.pieces = {name: _piece(p) for name, p in self._parameters.items()}
        self.training = False

    def _copy_in_pieces(self) -> nn.Module:
        """Return a copy of the module as it is, of which each part is whole when it is called.

        It is made in main memory, part by part. Single numbers are not cut.
        """
        from torch.distributed.fsdp import FSDPModule, fully_shard

        network = copy_module(self._module.to("cpu"))
        left = {p for p in network.parameters() if not self._is_cut(p)}
        for parameter in network.parameters():
            parameter.data = parameter.data.contiguous()
        for parameter in left:
            parameter.data = parameter.data.to(self._device)
        try:
            for name in [*self._units, ""]:
                fully_shard(network.get_submodule(name), mesh=self._mesh, ignored_params=left)
        except (AssertionError, NotImplementedError, RuntimeError, ValueError) as error:
            raise InputError(
                f"the network cannot be trained in pieces: {first_line(error)}; "
                "set finetune.shard=never"
            ) from error
        for part in network.modules():
            if isinstance(part, FSDPModule):
                # Gloo takes the sum where the average is asked for (pytorch#162338)
                part.set_force_sum_reduction_for_comms(True)
        self._module.to(self._device)
        return network

    def teacher(self) -> nn.Module:
        """Return a copy of the module as it is, in pieces, to be called and not trained."""
        network: Any = self._copy_in_pieces().eval().requires_grad_(False)
        network.register_forward_hook(lambda called, *_: called.reshard())
        return network  # type: ignore[no-any-return]

    @contextmanager
    def replica(self, sync_batchnorm: bool) -> Iterator[ShardedReplica]:
        """Train the pieces in the block; behind it the module has what they became.

        Args:
            sync_batchnorm: as of :func:`.replica`.
        """
        self._take()
        with synchronised(self.network, self._ranks, always=sync_batchnorm) as state:
            yield ShardedReplica(self.network, state, self)
        self._give()

    @torch.no_grad()
    def _take(self) -> None:
        """Put the values of the module into the pieces, and leave it without."""
        for name, parameter in self._module.named_parameters():
            self.pieces[name].copy_(self.cut(parameter))
            parameter.data = parameter.data.new_empty(0)
        for mine, value in zip(self.network.buffers(), self._module.buffers(), strict=True):
            mine.copy_(value)
        self.training = True

    @torch.no_grad()
    def _give(self) -> None:
        """Put the values of all pieces into the module."""
        for name, parameter in self._module.named_parameters():
            shared: Any = self._parameters[name]
            whole = shared.full_tensor() if hasattr(shared, "full_tensor") else shared
            room = torch.empty_like(self._forms[name], device=self._device)
            parameter.data = room.copy_(whole)
        for mine, value in zip(self.network.buffers(), self._module.buffers(), strict=True):
            self._ranks.copy_from(mine)
            value.copy_(mine)
        self._module.train(self.network.training)
        self.training = False

    @torch.no_grad()
    def collect(self) -> None:
        """Move the gradients of a backward pass, means over the ranks, to the pieces.

        Raises:
            InputError: when there is none, as the network hides its outputs from PyTorch.
        """
        for name, parameter in self._parameters.items():
            found: Any = parameter.grad
            parameter.grad = None
            if found is not None and hasattr(found, "to_local"):
                found = found.to_local()
            elif found is not None:
                plain = torch.view_as_real(found) if found.is_complex() else found
                plain.copy_(self._ranks.sum(plain) / self._ranks.size)
            self.pieces[name].grad = found
        if all(piece.grad is None for piece in self.pieces.values()):
            raise InputError(
                "no gradient reaches the pieces of the network: set finetune.shard=never"
            )

    def clip(self, highest: float) -> None:
        """Scale the gradient of the whole network down to a norm of at most ``highest``."""
        squares = torch.zeros((), device=self._device, dtype=torch.float64)
        gradients = []
        for piece in self.pieces.values():
            if piece.grad is not None:
                gradients.append(piece.grad)
                copies = 1 if self._is_cut(piece) else self._ranks.size
                squares += piece.grad.abs().double().square().sum() / copies
        scale = highest / (float(self._ranks.sum(squares).sqrt()) + 1e-6)
        for gradient in gradients if scale < 1 else []:
            gradient.mul_(scale)

    def prunables(self, masks: Masks) -> tuple[Weights, Masks]:
        """Return the pieces of the weights that have masks, and of the masks."""
        cut = {name: self.cut(mask) for name, mask in masks.items()}
        return {name: self.pieces[name] for name in masks}, cut

    def _is_cut(self, tensor: Tensor) -> bool:
        return tensor.dim() > 0 and not tensor.is_complex()

    def cut(self, tensor: Tensor) -> Tensor:
        """Return the rows of a tensor that this rank holds; the whole where it is not cut."""
        if not self._is_cut(tensor):
            return tensor
        rows = -(-len(tensor) // self._ranks.size)
        return tensor[self._ranks.rank * rows : (self._ranks.rank + 1) * rows]

    def joined(self, piece: Tensor, form: Tensor) -> Tensor:
        """Return a piece as this rank's part of a ``DTensor`` of the shape of ``form``."""
        from torch.distributed.tensor import DTensor, Shard

        stride = torch.empty(form.shape, device="meta").stride()
        return DTensor.from_local(
            piece, self._mesh, [Shard(0)], run_check=False, shape=form.shape, stride=stride
        )

    def room(self, form: Tensor) -> Tensor:
        """Return room to read this rank's rows of a tensor into."""
        piece = self.cut(form)
        if not self._is_cut(form):
            return torch.empty_like(piece, device=self._device)
        return self.joined(torch.empty(piece.shape, dtype=form.dtype, device=self._device), form)

    def state_of(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Return the state of an optimizer of pieces as one of the whole network."""
        names = {id(piece): name for name, piece in self.pieces.items()}
        held = [piece for group in optimizer.param_groups for piece in group["params"]]
        state = optimizer.state_dict()

        def whole(number: int, value: Any) -> Any:
            form = self._forms[names[id(held[number])]]
            like = isinstance(value, Tensor) and value.shape == held[number].shape
            return self.joined(value, form) if like and self._is_cut(form) else value

        found = {
            number: {key: whole(number, value) for key, value in entry.items()}
            for number, entry in state["state"].items()
        }
        return {**state, "state": found}

    def state_for(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state of an optimizer of the whole network as one of pieces."""

        def piece(path: str, value: Any) -> Tensor:
            mine: Tensor = value.to_local() if hasattr(value, "to_local") else self.cut(value)
            return mine

        found: dict[str, Any] = changed(state, piece)
        return found


@dataclass(frozen=True)
class ShardedReplica(Replica):
    """The network in pieces as it is called in training."""

    shards: Shards

    def prunables(self, weights: Weights, masks: Masks) -> tuple[Weights, Masks]:
        """Return the pieces of the weights that have masks, and of the masks."""
        return self.shards.prunables(masks)

    def collect(self) -> None:
        """Leave the mean of the gradients over the ranks where the optimizer finds it."""
        self.shards.collect()

    def clip(self, highest: float) -> None:
        """Scale the gradient down to a norm of at most ``highest``."""
        self.shards.clip(highest)


def _form(parameter: nn.Parameter) -> Tensor:
    """Return shape, strides and type of a parameter as a tensor that holds nothing."""
    return torch.empty_like(parameter.detach(), device="meta")


@torch.no_grad()
def _piece(parameter: Any) -> nn.Parameter:
    """Return this rank's rows of a parameter, in the memory where they are."""
    plain = parameter.detach()
    plain = plain.to_local() if hasattr(plain, "to_local") else plain
    return nn.Parameter(plain, requires_grad=parameter.requires_grad)
