from __future__ import annotations

from typing import Any

import pytest
import torch

from wfpipe.pipeline.pruning.criteria.criterion import Fisher


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"damping": 0.0}, "damping must be > 0, got 0.0"),
        ({"damping": float("nan")}, "damping must be > 0, got nan"),
        ({"taylor_damping": -1.0}, "taylor_damping must be > 0, got -1.0"),
        ({"precision": torch.bfloat16}, "precision must be float64 or float32, got torch.bfloat16"),
        ({"cache_bytes": -1}, "cache_bytes must be >= 0, got -1"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Fisher(**settings)
