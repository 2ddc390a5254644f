"""What share of a file's weights is zero, and which of them hold no zero.

All weights of a file are its matrix-shaped ones, also those that values are multiplied with element
by element, as :func:`wfpipe.exporters.reading.onnx_graph.weights_and_scales` finds them: biases,
norms and tables that are added to something are none of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .report import DenseWeight, LayerFigures


def file_sparsity(layers: Iterable[LayerFigures], gone: int = 0) -> float:
    """Return zeros / total over all weights of a file; 0 when there are none.

    Args:
        layers: as :func:`layer_figures` gives them: every matrix-shaped weight, pruned or not.
        gone: weights that went with whole channels, to be counted as zeros.
    """
    sizes = [(math.prod(layer.shape), layer.sparsity) for layer in layers]
    total = gone + sum(size for size, _ in sizes)
    zeros = gone + sum(round(size * sparsity) for size, sparsity in sizes)
    return zeros / total if total else 0.0


def file_weights(layers: Iterable[LayerFigures]) -> int:
    """Return the total that :func:`file_sparsity` is a share of, less what is gone."""
    return sum(math.prod(layer.shape) for layer in layers)


def dense_weights(layers: Iterable[LayerFigures]) -> list[DenseWeight]:
    """Return the weights of a file that hold no zero."""
    return [
        DenseWeight(name=layer.name, weights=math.prod(layer.shape))
        for layer in layers
        if layer.sparsity == 0
    ]
