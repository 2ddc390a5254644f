"""Attention with fewer heads than its layers were made for."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

COUNTS = ("num_heads", "num_attention_heads", "n_heads", "heads")
"""Names under which modules that compute attention hold their number of heads."""
LENGTHS = ("attn_dim", "all_head_size", "inner_dim")
"""Names under which they hold that number times the length of a head."""
_NAMED = re.compile("(to_)?[qkv]")


class FewerHeads(nn.MultiheadAttention):
    """``nn.MultiheadAttention`` less some of its heads: what it takes and gives keeps its width.

    An attention layer becomes one by :meth:`take`. PyTorch's own forward splits the width of what
    it takes into heads, and so cannot have fewer.
    """

    @staticmethod
    def take(layer: nn.MultiheadAttention) -> None:
        """Make an attention layer one of fewer heads, as many as its weights are of."""
        weight = layer.in_proj_weight
        if weight is None or layer.bias_k is not None or layer.add_zero_attn:
            raise NotImplementedError("attention with keys and values of other widths, or added")
        layer.num_heads = len(weight) // (3 * layer.head_dim)
        layer.embed_dim = layer.kdim = layer.vdim = weight.shape[1]
        layer._qkv_same_embed_dim = False  # so that nn.TransformerEncoderLayer calls forward
        layer.__class__ = FewerHeads

    def forward(  # the arguments and what is returned are those of PyTorch
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None,
        average_attn_weights: bool = True, is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Return the attended values, and the weights of attention where they are asked for."""
        given = [query, key, value]
        batched = query.dim() == 3
        if not batched:
            given = [each[None] for each in given]
        elif not self.batch_first:
            given = [each.transpose(0, 1) for each in given]
        biases = (None,) * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        weights = cast("Tensor", self.in_proj_weight).chunk(3)
        q, k, v = (
            F.linear(x, weight, bias).view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)
            for x, weight, bias in zip(given, weights, biases, strict=True)
        )
        scores = q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)
        scores = _masked(scores, attn_mask, key_padding_mask, len(given[0]))
        attention = scores.softmax(-1)
        mixed = F.dropout(attention, self.dropout, self.training) @ v
        out = self.out_proj  # not called, as PyTorch does not: its uses are counted here
        found = F.linear(mixed.transpose(1, 2).flatten(2), out.weight, out.bias)
        if not batched:
            found, attention = found[0], attention[0]
        elif not self.batch_first:
            found = found.transpose(0, 1)
        if not need_weights:
            return found, None
        return found, attention.mean(-3) if average_attn_weights else attention


def _masked(scores: Tensor, mask: Tensor | None, padding: Tensor | None, batch: int) -> Tensor:
    """Return scores ``Float[n, heads, q, k]`` with what may not be attended to at −∞."""
    if mask is not None and mask.dim() == 3:
        if len(mask) != batch:
            raise NotImplementedError("a mask for each head, some of which are gone")
        mask = mask[:, None]
    for each in (mask, None if padding is None else padding.view(batch, 1, 1, -1)):
        if each is not None and each.dtype == torch.bool:
            scores = scores.masked_fill(each, -math.inf)
        elif each is not None:
            scores = scores + each
    return scores


def rows_of(part: nn.Module) -> dict[str, int]:
    """Return the rows of a module's own layers of queries, keys and values, where it holds a number
    of heads.
    """
    if not any(isinstance(vars(part).get(name), int) for name in COUNTS):
        return {}
    return {
        name: len(layer.weight)
        for name, layer in part.named_children()
        if isinstance(layer, nn.Linear) and _NAMED.match(name)
    }


def tell_heads(part: nn.Module, before: dict[str, int]) -> None:
    """Set the number of heads of a module by what is left of the rows of its layers.

    Args:
        part: a module that holds a number of heads.
        before: what :func:`rows_of` gave when it had all heads.
    """
    for layer, rows in before.items():
        after = len(cast("Any", part.get_submodule(layer)).weight)
        if after == rows:
            continue
        for name in (*COUNTS, *LENGTHS):
            old = vars(part).get(name)
            if isinstance(old, int) and old * after % rows == 0:
                setattr(part, name, old * after // rows)
        return
