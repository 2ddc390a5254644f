"""The check of a package by somebody who did not make it."""

from __future__ import annotations

import hashlib
import io
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from ...support.errors import CheckFailed, InputError
from ..documents.manifest import (
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    MANIFEST_FILE,
    PROGRAM_FILE,
    SIGNATURE_FILE,
    TEXT_FILES,
    Manifest,
    PackedFile,
    TensorSpec,
    golden_files,
    parse_manifest,
)
from ..measuring.kernels_library import path_in_use
from ..measuring.replay import run_samples
from ..reading.archive import Archive, open_archive
from ..reading.package_model import Array, PackableModel, open_packable
from .golden import prepared_inputs
from .signing import PublicKey

MAX_MANIFEST_BYTES = 16 << 20
MAX_SIGNATURE_BYTES = 4096  # one has 64
MAX_GOLDEN_BYTES = 64 << 20  # a heuristic: one sample of 4,000 × 4,000 pixels in three colours
MAX_NPY_HEADER_CHARACTERS = 1000
MAX_DIMENSIONS = 32


Signed = Literal["unsigned", "not checked", "checked"]
_SIGNED = {
    "unsigned": "it is not signed: this shows that it is whole, not who made it",
    "not checked": "its signature was not checked: pass --public-key to check who made it",
    "checked": "its signature is right",
}


@dataclass(frozen=True)
class VerifyResult:
    """A package that passed every check.

    ``files`` and ``bytes`` count what the manifest lists; ``largest_difference`` is that of an
    output to its golden output, relative to the largest golden output. ``kernels`` is the processor
    path that ran sparse kernels, those of the installed wfpipe; None: the model has no use for any.
    """

    manifest: Manifest
    files: int
    bytes: int
    golden_samples: int
    largest_difference: float
    signed: Signed
    kernels: str | None

    def __str__(self) -> str:
        """Say in one line what was checked."""
        ran = packed = ""
        if self.kernels is not None:
            ran = f" on this wfpipe's own sparse kernels, path {self.kernels}"
            packed = f"; it holds kernels for {', '.join(self.manifest.libraries)}, not run here"
        return (
            f"all checks passed: {self.files} files of {self.bytes:,} bytes are as packed, and "
            f"{self.golden_samples} golden samples give the same outputs{ran} (largest difference "
            f"{self.largest_difference:.1e} of the largest output, "
            f"{self.manifest.golden.tolerance:.1e} allowed){packed}; {_SIGNED[self.signed]}"
        )


@dataclass(frozen=True)
class CheckedPackage:
    """What :func:`checked_package` yields: the result, the model's file, and golden inputs.

    ``inputs`` are prepared samples, (n, *shape) for each input of the model.
    """

    result: VerifyResult
    model: Path
    inputs: tuple[Array, ...]


def verify_package(path: Path, public_key: PublicKey | None = None) -> VerifyResult:
    """Check a package: its files against the manifest, its model against the golden samples.

    No library of the package is ever loaded: a model that runs on sparse kernels is run on those
    of the installed wfpipe. The limits on what is read are those of
    :mod:`exporters.reading.archive` and of this module. The model is looked through for references
    to other files before ONNX Runtime opens it. No part of the work holds more than one copy of the
    model in memory.

    Args:
        path: the package.
        public_key: checks the signature of the manifest, before anything of it is read. ``None``:
            the check shows that a package is whole and runs here as it did where it was packed,
            not who packed it.

    Raises:
        InputError: when the package cannot be read: not a plain zip archive, names that lead
            outside, absurd sizes, no valid manifest, a model that is none or needs other files.
        CheckFailed: when it can be read and its signature is missing or wrong, a file is missing,
            extra or changed, the manifest does not describe the model, or outputs differ from the
            golden ones.
    """
    with checked_package(path, public_key) as checked:
        return checked.result


@contextmanager
def checked_package(path: Path, public_key: PublicKey | None = None) -> Iterator[CheckedPackage]:
    """Check a package as :func:`verify_package`, and keep its model unpacked for the block.

    Raises:
        InputError, CheckFailed: as :func:`verify_package`.
    """
    what = f"package {str(path)!r}"
    with tempfile.TemporaryDirectory(prefix="wfpipe-") as folder:
        with open_archive(path) as archive:
            raw = _manifest_bytes(archive, what)
            signed = _check_signature(archive, raw, public_key, what)
            manifest = parse_manifest(raw, what)
            file = Path(folder) / manifest.model_file
            _check_files(manifest, archive, file, what)
            stored, wanted = (
                [
                    _load_npy(_member(archive, name, MAX_GOLDEN_BYTES, what), f"{what}: {name}")
                    for name in golden_files(first, len(specs))
                ]
                for first, specs in _golden(manifest)
            )
        model = open_packable(file, f"{what}: {manifest.model_file}")
        _check_description(manifest, model, what)
        inputs = _golden_inputs(manifest, stored, what)
        result = VerifyResult(
            manifest=manifest,
            files=len(manifest.files),
            bytes=sum(file.bytes for file in manifest.files.values()),
            golden_samples=manifest.golden.samples,
            largest_difference=_replay(manifest, file, inputs, wanted, what),
            signed=signed,
            kernels=path_in_use([file]),
        )
        yield CheckedPackage(result, file, inputs)


def _member(archive: Archive, name: str, limit: int, what: str) -> bytes:
    if archive.size(name) > limit:
        raise InputError(f"{what}: {name} has more than {limit} bytes")
    return archive.read(name)


def _manifest_bytes(archive: Archive, what: str) -> bytes:
    if MANIFEST_FILE not in archive.names:
        raise InputError(f"{what} has no {MANIFEST_FILE}: it is not a package of wfpipe")
    return _member(archive, MANIFEST_FILE, MAX_MANIFEST_BYTES, what)


def _check_signature(
    archive: Archive, manifest: bytes, public_key: PublicKey | None, what: str
) -> Signed:
    if public_key is None:
        return "not checked" if SIGNATURE_FILE in archive.names else "unsigned"
    if SIGNATURE_FILE not in archive.names:
        raise CheckFailed(f"{what} is not signed: it has no {SIGNATURE_FILE}")
    if archive.size(SIGNATURE_FILE) > MAX_SIGNATURE_BYTES:
        raise CheckFailed(f"{what}: {SIGNATURE_FILE} is no signature: it is far too long")
    public_key.check(manifest, archive.read(SIGNATURE_FILE), what)
    return "checked"


def _check_files(manifest: Manifest, archive: Archive, model: Path, what: str) -> None:
    """Check that the files are those of the manifest, no more, no less, unchanged.

    The model is written to the path ``model`` on the way.
    """
    needed = {PROGRAM_FILE, manifest.model_file, *(TEXT_FILES if manifest.text else ())}
    for first, specs in _golden(manifest):
        needed |= set(golden_files(first, len(specs)))
    present = set(archive.names) - {MANIFEST_FILE, SIGNATURE_FILE}
    for name in sorted((needed | manifest.files.keys()) - present):
        raise CheckFailed(f"{what}: {name!r} is missing")
    needed_folders = {f"{parent}/" for name in present for parent in PurePosixPath(name).parents}
    for name in sorted(archive.folders - needed_folders):
        raise CheckFailed(f"{what}: the folder {name!r} is extra: no file is in it")
    for name in sorted(present - manifest.files.keys()):
        raise CheckFailed(f"{what}: {name!r} is extra: the manifest does not list it")
    for name, wanted in manifest.files.items():
        got = _digest(archive, name, model if name == manifest.model_file else None)
        if got != wanted:
            raise CheckFailed(
                f"{what}: {name!r} was changed: {got.bytes} bytes with SHA-256 {got.sha256}, "
                f"and the manifest says {wanted.bytes} bytes with {wanted.sha256}"
            )


def _digest(archive: Archive, name: str, copy: Path | None) -> PackedFile:
    """Return digest and size of a file in an archive, writing it to ``copy`` where given."""
    digest, size = hashlib.sha256(), 0
    with ExitStack() as stack:
        try:
            written = None if copy is None else stack.enter_context(copy.open("wb"))
            for chunk in archive.chunks(name):
                digest.update(chunk)
                size += len(chunk)
                if written is not None:
                    written.write(chunk)
        except OSError as error:
            raise InputError(
                f"cannot unpack {name!r} into {tempfile.gettempdir()!r}: {error.strerror or error}"
            ) from None
    return PackedFile(sha256=digest.hexdigest(), bytes=size)


def _check_description(manifest: Manifest, model: PackableModel, what: str) -> None:
    """Check that the manifest says of the model what the model says of itself."""
    pairs = {
        "task": (manifest.task, model.task),
        "inputs": (manifest.inputs, model.inputs),
        "outputs": (manifest.outputs, model.outputs),
        "output": (manifest.output, model.output),
        "preprocessing": (manifest.preprocessing, model.preprocessing),
        "class_names": (manifest.class_names, model.class_names),
        "sparsity": (manifest.sparsity, model.sparsity),
        "recipe_digest": (manifest.recipe_digest, model.recipe_digest),
        "versions.opset": (manifest.versions.opset, model.opset),
        "libraries": (bool(manifest.libraries), model.kernels),
    }
    for key, (said, found) in pairs.items():
        if said != found:
            raise CheckFailed(f"{what}: {MANIFEST_FILE} has other {key} than {manifest.model_file}")


def _golden(manifest: Manifest) -> list[tuple[str, tuple[TensorSpec, ...]]]:
    return [(GOLDEN_INPUTS_FILE, manifest.inputs), (GOLDEN_OUTPUTS_FILE, manifest.outputs)]


def _golden_inputs(manifest: Manifest, stored: list[Array], what: str) -> tuple[Array, ...]:
    samples, found = manifest.golden.samples, []
    names = golden_files(GOLDEN_INPUTS_FILE, len(stored))
    for name, array, spec in zip(names, stored, manifest.inputs, strict=True):
        types = {"uint8", spec.dtype} if len(stored) == 1 else {spec.dtype}
        if array.shape[:1] != (samples,) or str(array.dtype) not in types:
            raise CheckFailed(f"{what}: {name} must hold {samples} samples, {spec.dtype} or uint8")
        if spec.dtype == "float32":
            array = prepared_inputs(array, manifest.preprocessing, f"{what}: {name}")
        found.append(array)
    return tuple(found)


def _replay(
    manifest: Manifest, model: Path, inputs: tuple[Array, ...], wanted: list[Array], what: str
) -> float:
    """Run the golden samples and return the largest relative difference."""
    got = run_samples(model, inputs, f"{what}: {manifest.model_file}")
    names = golden_files(GOLDEN_OUTPUTS_FILE, len(wanted))
    pairs = zip(names, got, wanted, strict=True)
    return max(_difference(manifest, name, a, b, what) for name, a, b in pairs)


def _difference(manifest: Manifest, name: str, got: Array, wanted: Array, what: str) -> float:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise CheckFailed(
            f"{what}: {name} holds {wanted.dtype} {wanted.shape}, "
            f"and the model gives {got.dtype} {got.shape}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        exact, near = wanted.astype(np.float64), got.astype(np.float64)
        scale = float(np.abs(exact).max(initial=0.0)) or 1.0
        difference = float(np.abs(near - exact).max(initial=0.0)) / scale
    if not math.isfinite(scale) or not difference <= manifest.golden.tolerance:
        raise CheckFailed(
            f"{what}: outputs differ from {name} by {difference:.2e} of the "
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
    size = len(raw) - stream.tell()
    plain = dtype.kind in "fiub" and not fortran_order and len(shape) <= MAX_DIMENSIONS
    if not plain or math.prod(shape) * dtype.itemsize != size or min(shape, default=0) < 0:
        raise InputError(f"{what} must hold numbers in C order, as many as its shape says")
    return np.frombuffer(raw, dtype, offset=stream.tell()).reshape(shape)
