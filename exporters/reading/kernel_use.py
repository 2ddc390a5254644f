"""Whether a model has nodes that the sparse kernels run."""

from __future__ import annotations

import mmap
from pathlib import Path

import onnx

from ...support.errors import InputError
from .kernel_nodes import DOMAIN
from .onnx_outline import parse_outline


def uses_kernels(proto: onnx.ModelProto) -> bool:
    """Tell whether a model that passed its checks has such nodes: they stand in its graph alone."""
    return any(node.domain == DOMAIN for node in proto.graph.node)


def file_uses_kernels(path: Path) -> bool:
    """Tell whether a model file has such nodes, without its large tensors in memory.

    Raises:
        InputError: when it cannot be read, or is no model within the limits.
    """
    what = f"model {str(path)!r}"
    try:
        with path.open("rb") as file:
            if not path.stat().st_size:  # nothing can be mapped
                raise InputError(f"{what} is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return uses_kernels(parse_outline(content, what))
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror or error}") from None
