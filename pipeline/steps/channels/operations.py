"""What each operation of a captured network does with labels."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .labels import compact, varying
from .moves import concatenate, cut, item, pad, rearrange, split, view
from .norms import (
    batch_norm,
    dropout,
    group_norm,
    layer_norm,
    over_axis,
    pool,
    prelu,
    reduce,
)
from .products import (
    convolution,
    embedding,
    linear,
    matrix,
    scaled_attention,
    transposed,
)
from .walk import Value, Walk, nothing, unknown

aten = torch.ops.aten


def follow(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Return the labels of what an operation gives; unknown ones are noted in ``walk.refused``.

    Args:
        node: the operation.
        taken: gives the labels of a node before it.
        walk: where labels are tied.
    """
    target = node.target
    rule = _RULES.get(target)
    if rule is not None:
        return rule(node, taken, walk)
    if target in _REARRANGING:
        return rearrange(node, taken)
    if torch.Tag.pointwise in getattr(target, "tags", ()) or target in _ELEMENTWISE:
        return _elementwise(node, taken, walk)
    return unknown(node, taken, walk)


def _inputs(node: Node, taken: Callable[[Node], Value]) -> list[Tensor]:
    found = [taken(each) for each in node.all_input_nodes]
    return [value for value in found if isinstance(value, Tensor)]


def _elementwise(node: Node, taken: Callable[[Node], Value], walk: Walk) -> Value:
    """Tie the entries that meet; an input that is repeated over others meets none of them."""
    given = node.meta.get("val")
    if not isinstance(given, Tensor):
        return nothing(node)
    shape = given.shape
    inputs = [compact(value.expand(shape)) for value in _inputs(node, taken)]
    repeated = [_repeated(value, shape) for value in _inputs(node, taken)]
    if not inputs:
        return nothing(node)
    main = max(range(len(inputs)), key=lambda i: len(varying(inputs[i])))
    axes = set(varying(inputs[main]))
    for number, value in enumerate(inputs):
        if number == main:
            continue
        if set(varying(value)) & repeated[main]:
            walk.labels.fix(value)
        elif not axes & repeated[number]:
            walk.labels.tie(inputs[main], value)
        elif varying(value):
            walk.labels.fix(value)
    return inputs[main]


def _repeated(value: Tensor, shape: torch.Size) -> set[int]:
    """Return the axes of a shape along which a tensor of other shape is repeated."""
    ahead = len(shape) - value.dim()
    return {
        axis
        for axis, length in enumerate(shape)
        if length > 1 and (axis < ahead or value.shape[axis - ahead] == 1)
    }


def layer_weights(graph_names: dict[Node, str]) -> set[str]:
    """Return the names of the weights of layers and embeddings, which have labels of their axes."""
    found = set()
    for node, name in graph_names.items():
        for user in node.users:
            rule = _RULES.get(user.target)
            place = {embedding: 0, matrix: len(user.args) - 1}.get(rule, 1)  # type: ignore[arg-type]
            layer = rule in (linear, convolution, transposed, embedding, matrix)
            if layer and user.args[place] is node:
                found.add(name)
    return found


def _all(*names: str) -> set[Any]:
    """Return those of the operations that this version of PyTorch has, by name and overload."""
    found = set()
    for name in names:
        base, _, overload = name.partition(".")
        packet = getattr(aten, base, None)
        if packet is not None and overload in packet.overloads():
            found.add(getattr(packet, overload))
    return found


_REARRANGING = _all(
    "reshape.default", "flatten.using_ints",
    "unflatten.int", "transpose.int", "permute.default", "t.default", "clone.default",
    "contiguous.default", "unsqueeze.default", "squeeze.dim", "squeeze.dims", "squeeze.default",
    "expand.default", "alias.default", "detach.default", "flip.default", "repeat.default",
    "movedim.int", "movedim.intlist", "stack.default",
)  # fmt: skip
_ELEMENTWISE = _all(
    "hardswish.default", "_to_copy.default", "to.dtype", "log_sigmoid.default",
    "zeros_like.default", "ones_like.default", "full_like.default", "empty_like.default",
    "type_as.default", "lift_fresh_copy.default",
)  # fmt: skip
_RULES: dict[Any, Callable[[Node, Callable[[Node], Value], Walk], Value]] = {
    operator.getitem: item,
    **dict.fromkeys(_all("view.default", "_unsafe_view.default"), view),
    **dict.fromkeys(_all("linear.default"), linear),
    **dict.fromkeys(
        _all("conv1d.default", "conv2d.default", "conv3d.default", "conv1d.padding",
             "conv2d.padding", "conv3d.padding"),
        convolution,
    ),
    **dict.fromkeys(
        _all("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input"),
        transposed,
    ),
    **dict.fromkeys(_all("addmm.default", "mm.default", "matmul.default", "bmm.default"), matrix),
    **dict.fromkeys(_all("_native_batch_norm_legit_no_training.default"), batch_norm),
    **dict.fromkeys(_all("layer_norm.default"), layer_norm),
    **dict.fromkeys(_all("group_norm.default"), group_norm),
    **dict.fromkeys(_all("prelu.default"), prelu),
    **dict.fromkeys(_all("softmax.int", "log_softmax.int", "_softmax.default"), over_axis),
    **dict.fromkeys(
        _all("mean.dim", "mean.default", "sum.dim_IntList", "sum.default", "amax.default",
             "amin.default", "max.dim", "min.dim", "var.correction", "var.dim", "any.dim",
             "linalg_vector_norm.default", "logsumexp.default"),
        reduce,
    ),
    **dict.fromkeys(
        _all("max_pool1d.default", "max_pool2d.default", "max_pool3d.default",
             "max_pool2d_with_indices.default", "avg_pool1d.default", "avg_pool2d.default",
             "avg_pool3d.default", "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default",
             "adaptive_avg_pool3d.default", "_adaptive_avg_pool2d.default",
             "adaptive_max_pool2d.default", "upsample_nearest1d.vec", "upsample_nearest2d.vec",
             "upsample_bilinear2d.vec", "upsample_bicubic2d.vec", "upsample_nearest2d.default",
             "upsample_bilinear2d.default"),
        pool,
    ),
    **dict.fromkeys(_all("embedding.default"), embedding),
    **dict.fromkeys(_all("scaled_dot_product_attention.default"), scaled_attention),
    **dict.fromkeys(_all("slice.Tensor", "select.int", "unbind.int", "narrow.default"), cut),
    **dict.fromkeys(
        _all("split.Tensor", "chunk.default", "split_with_sizes.default", "split.sizes"), split
    ),
    **dict.fromkeys(_all("cat.default"), concatenate),
    **dict.fromkeys(_all("pad.default", "constant_pad_nd.default"), pad),
    **dict.fromkeys(_all("native_dropout.default", "dropout.default"), dropout),
}  # fmt: skip
