"""PyTorch's translation of operators to ONNX, read once for each process."""

from __future__ import annotations

from functools import cache
from unittest.mock import patch


def keep_translations() -> None:
    """Have all exports of this process share one table of translations.

    PyTorch makes the table anew for each export, from the source of 500 functions: a quarter of the
    time that the export of a small network takes. It is always the same; what an export adds stays
    its own.
    """
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**of: int) -> ONNXRegistry:
        table, copy = made(**of), ONNXRegistry()
        copy._opset_version = table.opset_version
        copy.functions = {operator: list(found) for operator, found in table.functions.items()}
        return copy

    patch.object(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib)).start()
