"""The package: a model with all that a device needs to run it and to trust it, in one file."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import InputError
from ...support.files import read_bytes
from ...support.nests import Nest, tensors
from ...support.version import __version__
from ..documents.forms import PLAIN
from ..documents.manifest import (
    CARD_FILE,
    GOLDEN_INPUTS_FILE,
    GOLDEN_OUTPUTS_FILE,
    GOLDEN_TEXTS_FILE,
    KERNELS_FOLDER,
    MANIFEST_FILE,
    MAX_GOLDEN_SAMPLES,
    ORT,
    PROGRAM_FILE,
    SIGNATURE_FILE,
    TEXT_PROGRAM_FILE,
    TOKENIZER_FILE,
    Golden,
    Manifest,
    PackedFigures,
    PackedFile,
    TextInputs,
    Versions,
    golden_files,
    model_file,
)
from ..documents.report import Report
from ..measuring.replay import run_samples
from ..measuring.sizes import deflated_bytes
from ..reading.archive import write_archive
from ..reading.onnx_wire import MAX_MODEL_BYTES
from ..reading.package_model import Array, PackableModel, open_packable
from ..reporting.model_card import model_card
from .golden import stored_inputs
from .signing import SigningKey

GOLDEN_TOLERANCE = 1e-4  # as for the parity of the export: above rounding, below any other network
FORM_TOLERANCE = {"fp16": 0.01, "int8": 0.05}
"""For forms that processors round each in their own way: a heuristic."""


@dataclass(frozen=True)
class PackableText:
    """What a device needs to make inputs of text.

    ``tokenizer`` is the content of ``tokenizer.json``, which cuts and fills up; ``rows`` are the
    texts of the golden samples, by column.
    """

    how: TextInputs
    tokenizer: bytes
    rows: tuple[Mapping[str, Any], ...]


def write_package(
    path: Path,
    *,
    model: Path,
    golden_inputs: Nest,
    report: Report | None,
    variant: str = PLAIN,
    sign: SigningKey | None = None,
    libraries: Mapping[str, Path] | None = None,
    text: PackableText | None = None,
) -> tuple[Manifest, str]:
    """Pack a model: the same arguments give the same bytes on the same machine.

    Args:
        path: the package to write.
        model: a file that takes batches to outputs: ONNX, or ``.ort``.
        golden_inputs: a few samples as the network takes them, an array (n, *shape) or a nest of
            arrays; of these as many are packed as are small beside the model, at least one.
        report: the figures of the model, or ``None`` to pack it without.
        variant: which form of the model the file is: ``plain`` or a name of ``report.variants``.
        sign: the key to sign the manifest with; ``None``: the package is not signed.
        libraries: the sparse kernels by platform. A model that does not run on them is packed
            without.
        text: makes the inputs of text on the device; ``None``: they are given as arrays.

    Returns:
        The manifest of the package, and its model card.

    Raises:
        InputError: when the model cannot be packed, the samples do not fit it, the report is of
            another file, or the package cannot be written.
    """
    what = f"model {str(model)!r}"
    content = read_bytes(model, "model", limit=MAX_MODEL_BYTES)
    if (model.suffix == ".ort") != (variant == ORT):
        raise InputError(f"{what} is not a file of the form {variant!r}")
    packed = open_packable(model, what)
    arrays = _in_order(golden_inputs, packed, what)
    _check_samples(arrays, packed, what)
    _check_text(text, packed, what)
    kernels = _kernels(libraries or {}, packed, what)
    figures = None if report is None else _figures(report, variant, len(content), what)
    stored = stored_inputs(
        arrays,
        packed.preprocessing,
        figures.pruned.deflated_bytes if figures else deflated_bytes(model),
    )
    outputs = run_samples(model, tuple(array[: len(stored[0])] for array in arrays), what)
    _check_outputs(outputs, packed, what)
    members = {
        PROGRAM_FILE: resources.files(__package__).joinpath(PROGRAM_FILE).read_bytes(),
        model_file(variant): content,
        **_npy_files(GOLDEN_INPUTS_FILE, stored),
        **_npy_files(GOLDEN_OUTPUTS_FILE, outputs),
        **{name: read_bytes(path, "library") for name, path in kernels.values()},
        **_text_files(text, len(stored[0])),
    }
    golden = Golden(samples=len(stored[0]), tolerance=FORM_TOLERANCE.get(variant, GOLDEN_TOLERANCE))
    manifest = _manifest(packed, members, variant, figures, golden, kernels, text)
    return _write(path, manifest, members, report, sign)


def _kernels(
    libraries: Mapping[str, Path], model: PackableModel, what: str
) -> dict[str, tuple[str, Path]]:
    """Return the libraries that the model needs, by platform: name in the package, and file."""
    if not model.kernels:
        return {}
    if not libraries:
        raise InputError(f"{what} runs on sparse kernels: pack the libraries of its platforms too")
    return {
        platform: (f"{KERNELS_FOLDER}/{platform}/{path.name}", path)
        for platform, path in sorted(libraries.items())
    }


def _check_text(text: PackableText | None, model: PackableModel, what: str) -> None:
    names = {spec.name for spec in model.inputs}
    if text is not None and names != {*text.how.inputs, *text.how.numbers}:
        raise InputError(f"{what} takes {', '.join(names)}, and other inputs are made of text")


def _text_files(text: PackableText | None, samples: int) -> dict[str, bytes]:
    """Return the files that make inputs of text, with the texts of the golden samples."""
    if text is None:
        return {}
    rows = json.dumps(text.rows[:samples], ensure_ascii=False, indent=1)
    program = resources.files(__package__).joinpath(TEXT_PROGRAM_FILE).read_bytes()
    return {
        TOKENIZER_FILE: text.tokenizer,
        TEXT_PROGRAM_FILE: program,
        GOLDEN_TEXTS_FILE: f"{rows}\n".encode(),
    }


def _manifest(
    packed: PackableModel,
    members: dict[str, bytes],
    variant: str,
    figures: PackedFigures | None,
    golden: Golden,
    kernels: dict[str, tuple[str, Path]],
    text: PackableText | None,
) -> Manifest:
    return Manifest(
        files={name: describe_file(content) for name, content in members.items()},
        variant=variant,
        task=packed.task,
        inputs=packed.inputs,
        outputs=packed.outputs,
        output=packed.output,
        preprocessing=packed.preprocessing,
        class_names=packed.class_names,
        sparsity=packed.sparsity,
        recipe_digest=packed.recipe_digest,
        figures=figures,
        golden=golden,
        libraries={platform: name for platform, (name, _) in kernels.items()},
        text=None if text is None else text.how,
        versions=Versions(wfpipe=__version__, opset=packed.opset, onnxruntime=ort.__version__),
    )


def _write(
    path: Path,
    manifest: Manifest,
    members: dict[str, bytes],
    report: Report | None,
    sign: SigningKey | None,
) -> tuple[Manifest, str]:
    """Write the package with its model card and signature; return the manifest and the card."""
    card = model_card(manifest, report)
    members = {**members, CARD_FILE: card.encode()}
    files = {**manifest.files, CARD_FILE: describe_file(members[CARD_FILE])}
    manifest = manifest.model_copy(update={"files": files})
    raw = manifest.to_bytes()
    signature = {} if sign is None else {SIGNATURE_FILE: sign.signature(raw)}
    write_archive(path, {MANIFEST_FILE: raw, **signature, **members})
    return manifest, card


def _figures(report: Report, variant: str, size: int, what: str) -> PackedFigures:
    figures = PackedFigures.of(report, variant)
    if figures.pruned.file_bytes != size:
        raise InputError(
            f"{what} has {size} bytes and the report is of a file of "
            f"{figures.pruned.file_bytes} bytes: pass the report of this model"
        )
    return figures


def describe_file(content: bytes) -> PackedFile:
    """Return the manifest's entry for a file of this content."""
    return PackedFile(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _in_order(samples: Nest, model: PackableModel, what: str) -> list[Array]:
    """Return the arrays of samples in the order of the model's inputs."""
    names = [spec.name for spec in model.inputs]
    by_name = isinstance(samples, dict) and set(samples) == set(names)
    arrays = [samples[name] for name in names] if by_name else tensors(samples)
    if len(arrays) != len(names):
        raise InputError(f"{what} has {len(names)} inputs, got golden inputs for {len(arrays)}")
    return arrays


def _check_samples(arrays: list[Array], model: PackableModel, what: str) -> None:
    count = len(arrays[0])
    if not 1 <= count <= MAX_GOLDEN_SAMPLES:
        raise InputError(f"golden inputs must be 1 to {MAX_GOLDEN_SAMPLES}, got {count}")
    for array, spec in zip(arrays, model.inputs, strict=True):
        if array.dtype != spec.dtype or len(array) != count or not np.isfinite(array).all():
            raise InputError(f"golden inputs must be {spec.dtype} and finite")
        shape, wanted = array.shape[1:], spec.shape[1:]
        fits = len(shape) == len(wanted) and all(
            not isinstance(want, int) or want == got
            for got, want in zip(shape, wanted, strict=True)
        )
        if not fits:
            raise InputError(
                f"{what} takes samples of shape {wanted}, got golden inputs of {shape}"
            )
        if model.preprocessing is not None and model.preprocessing.shape != shape:
            raise InputError(
                f"{what} says in its metadata that samples have the shape "
                f"{model.preprocessing.shape}, got golden inputs of {shape}"
            )


def _check_outputs(outputs: list[Array], model: PackableModel, what: str) -> None:
    if not all(np.isfinite(output).all() for output in outputs):
        raise InputError(f"{what} gives outputs that are not finite for the golden inputs")
    names = model.class_names
    if names is not None and not any(o.shape[1:] == (len(names),) for o in outputs):
        raise InputError(
            f"{what} has {len(names)} class names and outputs of shape {outputs[0].shape[1:]}"
        )


def _npy_files(first: str, arrays: list[Array]) -> dict[str, bytes]:
    names = golden_files(first, len(arrays))
    return {name: _npy(array) for name, array in zip(names, arrays, strict=True)}


def _npy(array: Array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
    return stream.getvalue()
