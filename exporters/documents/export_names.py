"""What a recipe can choose among; without anything else, so that it loads at once."""

from __future__ import annotations

from typing import Literal

Variant = Literal["sparse-cpu", "sparse", "int8", "fp16", "ort"]
"""Forms of the pruned model beside the plain file."""

Rule = Literal["fastest", "smallest", "most-accurate"]
"""How the form that ships is chosen."""

SparseValues = Literal["float32", "float16"]
"""How the form sparse-cpu stores its values."""

Method = Literal["minmax", "entropy", "percentile"]
"""How int8 chooses the range of values from those seen."""
