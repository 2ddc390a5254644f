"""Attention in the form that the exporter has a translation for."""

from __future__ import annotations

from typing import Any

from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class AttentionWithHeads(TorchFunctionMode):
    """Within it, attention on queries (n, length, width) is computed with one head.

    The exporter translates ``scaled_dot_product_attention`` on four dimensions alone.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        three = func is F.scaled_dot_product_attention and len(args) >= 3 and args[0].dim() == 3
        if not three:
            return func(*args, **kwargs)
        mask = args[3] if len(args) > 3 else kwargs.pop("attn_mask", None)
        if mask is not None and mask.dim() == 3:
            mask = mask.unsqueeze(1)
        heads = [tensor.unsqueeze(1) for tensor in args[:3]]
        return func(*heads, mask, *args[4:], **kwargs).squeeze(1)
