from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from wfpipe.models.narrowing import narrow

HEADS = torch.tensor([0, 2, 3])
"""Of four heads of three; the second one goes."""


def attention(**options: Any) -> tuple[nn.MultiheadAttention, nn.MultiheadAttention]:
    """Return a layer whose second head counts for nothing, and the same without that head."""
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(12, 4, **options).eval()
    with torch.no_grad():
        layer.in_proj_bias.uniform_(-1, 1)
        layer.out_proj.weight[:, 3:6] = 0
    small = nn.MultiheadAttention(12, 4, **options).eval()
    small.load_state_dict(layer.state_dict())
    rows = torch.arange(36).view(3, 4, 3)[:, HEADS].reshape(-1)
    narrow(small, {
        "in_proj_weight": layer.in_proj_weight[rows].detach(),
        "in_proj_bias": layer.in_proj_bias[rows].detach(),
        "out_proj.weight": layer.out_proj.weight[:, rows[:9]].detach(),
    })  # fmt: skip
    return layer, small


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_attention_without_a_head_gives_what_the_masked_one_does(batch_first, dtype):
    layer, small = attention(batch_first=batch_first)
    x, y = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    mask, padding = torch.rand(5, 7) < 0.3, torch.arange(7) >= torch.tensor([[7], [4]])
    if dtype != torch.bool:
        mask, padding = (
            torch.zeros_like(m, dtype=dtype).masked_fill(m, -2) for m in (mask, padding)
        )
    given = (x, y, y) if batch_first else tuple(t.transpose(0, 1) for t in (x, y, y))
    wanted, _ = layer(*given, attn_mask=mask, key_padding_mask=padding)
    found, shares = small(*given, attn_mask=mask, key_padding_mask=padding)
    torch.testing.assert_close(found, wanted)
    assert shares.shape == (2, 5, 7)
    torch.testing.assert_close(shares.sum(-1), torch.ones(2, 5))
    assert small(*given, need_weights=False)[1] is None


def test_a_single_sample_is_attended_to_and_numbers_are_told():
    layer, small = attention()
    x = torch.randn(5, 12)
    torch.testing.assert_close(small(x, x, x)[0], layer(x, x, x)[0])
    assert (small.num_heads, small.head_dim, small.embed_dim) == (3, 3, 12)
    assert small.out_proj.in_features == 9


def test_a_transformer_layer_takes_no_shortcut_around_it():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(12, 4, 16, batch_first=True).eval()
    x = torch.randn(2, 5, 12)
    with torch.no_grad():
        layer.self_attn.out_proj.weight[:, :3] = 0
        wanted = layer(x)
        kept = torch.arange(36).view(3, 4, 3)[:, 1:].reshape(-1)
        narrow(layer, {
            "self_attn.in_proj_weight": layer.self_attn.in_proj_weight[kept],
            "self_attn.in_proj_bias": layer.self_attn.in_proj_bias[kept],
            "self_attn.out_proj.weight": layer.self_attn.out_proj.weight[:, 3:],
        })  # fmt: skip
        torch.testing.assert_close(layer(x), wanted)
