"""What a network does with its parameters, found by watching every operation of one run.

A tensor that no input has gone into is a constant: a parameter, a buffer, or computed from these.
Where a product of matrices or a convolution takes one, the parameters that it holds, moved at most,
are weights; where it was computed from parameters, zeros in these are none in the product.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

_MATRICES = {"mm": (0, 1), "addmm": (1, 2), "bmm": (0, 1), "baddbmm": (1, 2), "matmul": (0, 1)}
"""Products of matrices, and the places of their factors."""
_PRODUCTS = {
    *_MATRICES, "_addmm_activation", "mv", "addmv", "dot", "addbmm", "linear", "einsum",
    "convolution", "_convolution", "conv2d", "cudnn_convolution", "mkldnn_convolution",
    "_trilinear", "bilinear", "mkldnn_rnn_layer", "_cudnn_rnn", "miopen_rnn", "lstm", "gru",
    "rnn_tanh", "rnn_relu", "_native_multi_head_attention", "_transformer_encoder_layer_fwd",
}  # fmt: skip
_LOOKING_UP = {"embedding", "embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"}
_LOOKING_UP |= {"index", "index_select", "gather"}
_SCALING = {"mul", "mul_"}
_MOVES = {
    "t", "transpose", "permute", "numpy_T", "view", "_unsafe_view", "reshape", "_reshape_alias",
    "clone", "contiguous", "expand", "slice", "select", "narrow", "unsqueeze", "squeeze", "detach",
    "alias", "as_strided", "split", "split_with_sizes", "unbind", "chunk", "cat", "stack",
    "_to_copy", "lift_fresh", "copy_", "unfold", "flatten", "movedim", "swapaxes",
}  # fmt: skip


@dataclass(frozen=True)
class Uses:
    """What a network does with its parameters, by name.

    Args:
        multiplied: matrices that products take as they are, with the axis that is summed over where
            it is known, else 1.
        computed: matrices that a tensor is computed from which products take.
        looked_up: tables that rows are taken from.
        scaling: matrices that values of the network are multiplied with element by element.
        seen: all that any operation took.
    """

    multiplied: Mapping[str, int] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()
    looked_up: frozenset[str] = frozenset()
    scaling: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()


@torch.no_grad()
def watch_uses(module: nn.Module, run: Callable[[], object]) -> Uses:
    """Return what ``run``, which runs the network once, does with its parameters.

    A parameter with several names has the first one.
    """
    watch = _Watch(module)
    with watch:
        run()
    return Uses(
        dict(watch.multiplied),
        frozenset(watch.computed),
        frozenset(watch.looked_up),
        frozenset(watch.scaling),
        frozenset(watch.seen),
    )


@dataclass(frozen=True)
class _Origin:
    """The parameters that a constant holds; whether they were only moved."""

    names: frozenset[str]
    moved: bool


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.multiplied: dict[str, int] = {}
        self.computed: set[str] = set()
        self.looked_up: set[str] = set()
        self.scaling: set[str] = set()
        self.seen: set[str] = set()
        self._parameters = dict(module.named_parameters())
        places = [*self._parameters.items(), *((None, b) for b in module.buffers())]
        self._places = sorted(
            ((t.data_ptr(), t.data_ptr() + t.untyped_storage().nbytes(), name)
             for name, t in places if t.numel() and t.layout is torch.strided),
            key=lambda place: place[0],
        )  # fmt: skip
        self._starts = [start for start, _, _ in self._places]
        self._computed: Any = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        origins = [self._origin(tensor) for tensor in tensors]
        for tensor, origin in zip(tensors, origins, strict=True):
            if origin is not None:
                self.seen |= origin.names
                self._take(name, args, tensor, origin)
        known = [origin for origin in origins if origin is not None]
        if name in _SCALING and len(known) < len(origins):
            self.scaling |= {n for o in known if o.moved for n in o.names if self._is_matrix(n)}
        for output in tree_leaves(result):
            if isinstance(output, Tensor):
                self._computed.pop(output, None)
                if len(known) == len(origins):
                    names = frozenset[str]().union(*(origin.names for origin in known))
                    moved = name in _MOVES and all(origin.moved for origin in known)
                    self._computed[output] = _Origin(names, moved)
        return result

    def _is_matrix(self, name: str) -> bool:
        return sum(length > 1 for length in self._parameters[name].shape) > 1

    def _origin(self, tensor: Tensor) -> _Origin | None:
        """Return what a constant holds; None where a tensor depends on the inputs."""
        found = self._place(tensor)
        if found is not None:
            return found
        computed: _Origin | None = self._computed.get(tensor)
        return computed

    def _place(self, tensor: Tensor) -> _Origin | None:
        """Return the parameter or buffer whose memory a tensor lies in."""
        if tensor.layout is not torch.strided or not tensor.numel():
            return None
        index = bisect_right(self._starts, tensor.data_ptr()) - 1
        if index < 0 or tensor.data_ptr() >= self._places[index][1]:
            return None
        name = self._places[index][2]
        return _Origin(frozenset() if name is None else frozenset([name]), True)

    def _take(self, operation: str, args: tuple[Any, ...], tensor: Tensor, origin: _Origin) -> None:
        if operation in _PRODUCTS:
            if not origin.moved:
                self.computed |= {n for n in origin.names if self._parameters[n].dim() > 1}
                return
            for name in origin.names:
                if self._parameters[name].dim() < 2:
                    continue
                axis = _summed_over(operation, args, tensor, self._parameters[name])
                self.multiplied.setdefault(name, axis)
        elif operation in _LOOKING_UP and args[0] is tensor and origin.moved:
            self.looked_up |= origin.names


def _summed_over(operation: str, args: tuple[Any, ...], tensor: Tensor, weight: Tensor) -> int:
    """Return the axis of a matrix that a product sums over; 1 where it cannot be told."""
    if operation not in _MATRICES or weight.dim() != 2 or tensor.dim() < 2:
        return 1
    left, _ = _MATRICES[operation]
    axis = -1 if args[left] is tensor else -2
    stride, size = tensor.stride(axis), tensor.size(axis)
    fits = [i for i in (0, 1) if (weight.stride(i), weight.size(i)) == (stride, size)]
    return fits[0] if len(fits) == 1 else 1
