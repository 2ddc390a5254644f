"""The zeros in an ONNX file: counted, and proved to be those of the masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...support.errors import CheckFailed
from ..documents.report import LayerFigures
from ..measuring.macs import macs_by_weight
from ..reading.onnx_graph import read_model, to_array, weights, weights_and_scales
from .clean import TINY
from .stored_forms import forms

Array = np.ndarray[Any, Any]


class UnusedWeight(CheckFailed):
    """A weight has a mask and no place in the file: the network does not use it."""


@dataclass(frozen=True)
class ZeroCount:
    """What :func:`check_zeros` counted over all masks.

    ``dead`` weights are kept by their mask and yet zero in the file, because the weight itself
    or its batch norm's scale is zero or flushes to zero. ``gone`` of the pruned ones are not in the
    file at all, as whole channels went.
    """

    tensors: int
    pruned: int
    kept: int
    dead: int
    gone: int = 0


def check_zeros(
    path: Path,
    masks: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    scales: Mapping[str, Tensor] | None = None,
) -> ZeroCount:
    """Read the file at ``path`` back and prove that its zeros are those of ``masks``.

    Every pruned weight must be zero in the file. Every kept weight must not be, unless the
    weight times its batch norm's scale is zero or below the smallest normal float32.

    A weight is found in the file by its name, also when it is stored transposed. One that the
    exporter stored under another name (tied weights, two layers with the same content) is found
    by its content.

    Args:
        path: a file written by :func:`.export.export_onnx`.
        masks: bool tensors by parameter name, True = kept.
        parameters: the module's weights by parameter name, before export.
        scales: what batch norms put on the weights, from
            :func:`.batchnorm.batchnorm_scales`; a weight without an entry has 1.

    Raises:
        CheckFailed: naming the first tensor whose zeros differ from its mask, with the counts.
        InputError: when the file cannot be read.
    """
    stored = {name: to_array(tensor, path) for name, tensor in weights(read_model(path)).items()}
    pruned = kept = dead = 0
    for name, mask in masks.items():
        keep = mask.detach().cpu().numpy()
        plain = parameters[name].detach().cpu().float().numpy().astype(np.float64)
        scale = scales.get(name) if scales is not None else None
        values = plain if scale is None else plain * scale.detach().cpu().double().numpy()
        array = _by_name(stored, name, values, keep)
        if array is None:
            array = _by_content(stored, [values, plain])
        if array is None:
            raise UnusedWeight(
                f"no tensor in {path.name} holds the weight {name!r}; a layer that the "
                "network does not use must be left out of pruning (prune.exclude)"
            )
        not_zero, lost = _violations(array, values, keep)
        if not_zero or lost:
            raise CheckFailed(
                f"{path.name}: the zeros of {name!r} differ from its mask: {not_zero} of "
                f"{int((~keep).sum())} pruned weights are not zero, {lost} of {int(keep.sum())} "
                "kept weights are zero"
            )
        pruned += int((~keep).sum())
        kept += int(keep.sum())
        dead += int((keep & (array == 0)).sum())
    return ZeroCount(tensors=len(masks), pruned=pruned, kept=kept, dead=dead)


def layer_figures(path: Path) -> list[LayerFigures]:
    """Count zeros and multiplications of every weight of the file at ``path``, in order of use.

    Those that multiply element by element are weights too.

    Raises:
        InputError: when the file cannot be read.
    """
    figures = []
    macs = macs_by_weight(path)
    for name, tensor in weights_and_scales(read_model(path)).items():
        array = to_array(tensor, path)
        sparsity = float(np.mean(array == 0)) if array.size else 0.0
        figures.append(
            LayerFigures(name=name, shape=array.shape, sparsity=sparsity, macs=macs.get(name))
        )
    return figures


def _by_name(stored: Mapping[str, Array], name: str, values: Array, keep: Array) -> Array | None:
    """Return the tensor called ``name`` in the parameter's layout, or None."""
    if name not in stored:
        return None
    found = forms(stored[name], values.shape)
    return min(found, key=lambda form: sum(_violations(form, values, keep)), default=None)


def _by_content(stored: Mapping[str, Array], candidates: Iterable[Array]) -> Array | None:
    """Return the first tensor that holds one of ``candidates``, in its layout, or None."""
    for values in candidates:
        for array in stored.values():
            for form in forms(array, values.shape):
                if np.allclose(form, values, rtol=1e-4, atol=TINY):
                    return form
    return None


def _violations(array: Array, values: Array, keep: Array) -> tuple[int, int]:
    """Count pruned weights that are not zero and live kept weights that are.

    The exporter multiplies by the scale in float32: a product within its rounding of the
    smallest normal number may end on either side.
    """
    alive = keep & (np.abs(values) > TINY * (1 + 1e-5))
    return int((~keep & (array != 0)).sum()), int((alive & (array == 0)).sum())
