"""The check of a package by somebody who did not make it."""

from __future__ import annotations

import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..support.errors import CheckFailed, InputError
from .archive import read_archive
from .manifest import (
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    PACKED_FILES,
    Manifest,
    parse_manifest,
)
from .package import describe_file
from .package_model import Array, PackableModel, load_model, run_samples

MAX_MANIFEST_BYTES = 16 << 20
MAX_NPY_HEADER_CHARACTERS = 1000
MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class VerifyResult:
    """A package that passed every check.

    ``files`` and ``bytes`` count what the manifest lists; ``largest_difference`` is that of an
    output to its golden output, relative to the largest golden output.
    """

    manifest: Manifest
    files: int
    bytes: int
    golden_samples: int
    largest_difference: float

    def __str__(self) -> str:
        """Say in one line what was checked."""
        return (
            f"all checks passed: {self.files} files of {self.bytes:,} bytes are as packed, and "
            f"{self.golden_samples} golden samples give the same outputs (largest difference "
            f"{self.largest_difference:.1e} of the largest output, "
            f"{self.manifest.golden.tolerance:.1e} allowed)"
        )


def verify_package(path: Path) -> VerifyResult:
    """Check a package: its files against the manifest, its model against the golden samples.

    The limits on what is read are those of :mod:`exporters.archive` and of this module. The model
    is looked through for references to other files before ONNX Runtime opens it, from memory.
    A manifest is not signed: the check shows that a package is whole and runs here as it did
    where it was packed, not who packed it.

    Raises:
        InputError: when the package cannot be read: not a plain zip archive, names that lead
            outside, absurd sizes, no valid manifest, a model that is none or needs other files.
        CheckFailed: when it can be read and a file is missing, extra or changed, the manifest
            does not describe the model, or outputs differ from the golden ones.
    """
    what = f"package {str(path)!r}"
    members = read_archive(path)
    manifest = _manifest(members, what)
    _check_files(manifest, members, what)
    model = load_model(members[MODEL_FILE], f"{what}: {MODEL_FILE}")
    _check_description(manifest, model, what)
    difference = _replay(manifest, model, members, what)
    return VerifyResult(
        manifest=manifest,
        files=len(manifest.files),
        bytes=sum(file.bytes for file in manifest.files.values()),
        golden_samples=manifest.golden.samples,
        largest_difference=difference,
    )


def _manifest(members: dict[str, bytes], what: str) -> Manifest:
    raw = members.get(MANIFEST_FILE)
    if raw is None:
        raise InputError(f"{what} has no {MANIFEST_FILE}: it is not a package of wfpipe")
    if len(raw) > MAX_MANIFEST_BYTES:
        raise InputError(f"{what}: {MANIFEST_FILE} has more than {MAX_MANIFEST_BYTES} bytes")
    return parse_manifest(raw, what)


def _check_files(manifest: Manifest, members: dict[str, bytes], what: str) -> None:
    """Check that the files are those of the manifest, no more, no less, unchanged."""
    present = members.keys() - {MANIFEST_FILE}
    for name in sorted({*PACKED_FILES, *manifest.files} - present):
        raise CheckFailed(f"{what}: {name!r} is missing")
    for name in sorted(present - manifest.files.keys()):
        raise CheckFailed(f"{what}: {name!r} is extra: the manifest does not list it")
    for name, wanted in manifest.files.items():
        got = describe_file(members[name])
        if got != wanted:
            raise CheckFailed(
                f"{what}: {name!r} was changed: {got.bytes} bytes with SHA-256 {got.sha256}, "
                f"and the manifest says {wanted.bytes} bytes with {wanted.sha256}"
            )


def _check_description(manifest: Manifest, model: PackableModel, what: str) -> None:
    """Check that the manifest says of the model what the model says of itself."""
    pairs = {
        "inputs": (manifest.inputs, (model.input,)),
        "outputs": (manifest.outputs, (model.output,)),
        "preprocessing": (manifest.preprocessing, model.preprocessing),
        "class_names": (manifest.class_names, model.class_names),
        "sparsity": (manifest.sparsity, model.sparsity),
        "recipe_digest": (manifest.recipe_digest, model.recipe_digest),
        "versions.opset": (manifest.versions.opset, model.opset),
    }
    for key, (said, found) in pairs.items():
        if said != found:
            raise CheckFailed(f"{what}: {MANIFEST_FILE} has other {key} than {MODEL_FILE}")


def _replay(
    manifest: Manifest, model: PackableModel, members: dict[str, bytes], what: str
) -> float:
    """Run the golden samples and return the largest relative difference."""
    inputs = _load_npy(members[GOLDEN_INPUTS_FILE], f"{what}: {GOLDEN_INPUTS_FILE}")
    wanted = _load_npy(members[GOLDEN_OUTPUTS_FILE], f"{what}: {GOLDEN_OUTPUTS_FILE}")
    samples = manifest.golden.samples
    if inputs.dtype != np.float32 or inputs.shape[:1] != (samples,):
        raise CheckFailed(f"{what}: {GOLDEN_INPUTS_FILE} must hold {samples} float32 samples")
    got = run_samples(model, inputs, f"{what}: {MODEL_FILE}")
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise CheckFailed(
            f"{what}: {GOLDEN_OUTPUTS_FILE} holds {wanted.dtype} {wanted.shape}, "
            f"and the model gives {got.dtype} {got.shape}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        exact, near = wanted.astype(np.float64), got.astype(np.float64)
        scale = float(np.abs(exact).max(initial=0.0)) or 1.0
        difference = float(np.abs(near - exact).max(initial=0.0)) / scale
    if not math.isfinite(scale) or not difference <= manifest.golden.tolerance:
        raise CheckFailed(
            f"{what}: outputs differ from {GOLDEN_OUTPUTS_FILE} by {difference:.2e} of the "
            f"largest: at most {manifest.golden.tolerance:.2e} is allowed"
        )
    return difference


def _load_npy(raw: bytes, what: str) -> Array:
    """Read an array of numbers, in C order, without trusting the size that it says it has."""
    stream = io.BytesIO(raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(
                stream, max_header_size=MAX_NPY_HEADER_CHARACTERS
            )
    except Exception:  # the header is parsed as a Python literal, which fails in many ways
        raise InputError(f"{what} is not an array in numpy's format 1.0") from None
    content = raw[stream.tell() :]
    plain = dtype.kind in "fiub" and not fortran_order and len(shape) <= MAX_DIMENSIONS
    if not plain or math.prod(shape) * dtype.itemsize != len(content) or min(shape, default=0) < 0:
        raise InputError(f"{what} must hold numbers in C order, as many as its shape says")
    return np.frombuffer(content, dtype).reshape(shape)
