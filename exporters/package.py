"""The package: a model with all that a device needs to run it and to trust it, in one file."""

from __future__ import annotations

import hashlib
import io
from importlib import resources
from pathlib import Path

import numpy as np
import onnxruntime as ort

from ..support.errors import InputError
from ..support.files import read_bytes
from ..support.version import __version__
from .archive import MAX_MEMBER_BYTES, write_archive
from .figures import Report
from .manifest import (
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    MANIFEST_FILE,
    MAX_GOLDEN_SAMPLES,
    MODEL_FILE,
    PROGRAM_FILE,
    Golden,
    Manifest,
    PackedFigures,
    PackedFile,
    Versions,
)
from .package_model import Array, PackableModel, load_model, run_samples

GOLDEN_TOLERANCE = 1e-4  # as for the parity of the export: above rounding, below any other network


def write_package(
    path: Path, *, model: Path, golden_inputs: Array, report: Report | None
) -> Manifest:
    """Pack a model: the same arguments give the same bytes on the same machine.

    Args:
        path: the package to write.
        model: an ONNX file that takes one float32 batch to one output.
        golden_inputs: samples as the network takes them, float32 (n, *shape), a few.
        report: the figures of the model, or ``None`` to pack it without.

    Returns:
        The manifest of the package.

    Raises:
        InputError: when the model cannot be packed, the samples do not fit it, the report is of
            another file, or the package cannot be written.
    """
    what = f"model {str(model)!r}"
    packed = load_model(read_bytes(model, "model", limit=MAX_MEMBER_BYTES), what)
    _check_samples(golden_inputs, packed, what)
    if report is not None and report.pruned.file_bytes != len(packed.content):
        raise InputError(
            f"{what} has {len(packed.content)} bytes and the report is of a file of "
            f"{report.pruned.file_bytes} bytes: pass the report of this model"
        )
    outputs = run_samples(packed, golden_inputs, what)
    _check_outputs(outputs, packed, what)
    members = {
        PROGRAM_FILE: resources.files(__package__).joinpath(PROGRAM_FILE).read_bytes(),
        MODEL_FILE: packed.content,
        GOLDEN_INPUTS_FILE: _npy(golden_inputs),
        GOLDEN_OUTPUTS_FILE: _npy(outputs),
    }
    manifest = Manifest(
        files={name: describe_file(content) for name, content in members.items()},
        inputs=(packed.input,),
        outputs=(packed.output,),
        preprocessing=packed.preprocessing,
        class_names=packed.class_names,
        sparsity=packed.sparsity,
        recipe_digest=packed.recipe_digest,
        figures=None if report is None else PackedFigures.of(report),
        golden=Golden(samples=len(golden_inputs), tolerance=GOLDEN_TOLERANCE),
        versions=Versions(wfpipe=__version__, opset=packed.opset, onnxruntime=ort.__version__),
    )
    write_archive(path, {MANIFEST_FILE: manifest.to_bytes(), **members})
    return manifest


def describe_file(content: bytes) -> PackedFile:
    """Return the manifest's entry for a file of this content."""
    return PackedFile(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _check_samples(samples: Array, model: PackableModel, what: str) -> None:
    if samples.dtype != np.float32 or not np.isfinite(samples).all():
        raise InputError("golden inputs must be float32 and finite")
    if not 1 <= len(samples) <= MAX_GOLDEN_SAMPLES:
        raise InputError(f"golden inputs must be 1 to {MAX_GOLDEN_SAMPLES}, got {len(samples)}")
    shape, wanted = samples.shape[1:], model.input.shape[1:]
    fits = len(shape) == len(wanted) and all(
        not isinstance(want, int) or want == got for got, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise InputError(f"{what} takes samples of shape {wanted}, got golden inputs of {shape}")
    if model.preprocessing is not None and model.preprocessing.shape != shape:
        raise InputError(
            f"{what} says in its metadata that samples have the shape "
            f"{model.preprocessing.shape}, got golden inputs of {shape}"
        )


def _check_outputs(outputs: Array, model: PackableModel, what: str) -> None:
    if not np.isfinite(outputs).all():
        raise InputError(f"{what} gives outputs that are not finite for the golden inputs")
    names = model.class_names
    if names is not None and outputs.shape[1:] != (len(names),):
        raise InputError(
            f"{what} has {len(names)} class names and outputs of shape {outputs.shape[1:]}"
        )


def _npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
