"""A small model on the sparse kernels, and a package of it."""

from __future__ import annotations

from pathlib import Path

import onnx

from wfpipe.exporters.documents.manifest import SPARSE_CPU
from wfpipe.exporters.measuring.kernels_library import libraries_for
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.runtime.rewrite import rewrite
from wfpipe.exporters.runtime.units import find_units
from wfpipe.tests.exporters.package_samples import golden_inputs, linear_model, write_model


def sparse_model() -> onnx.ModelProto:
    """The linear model with its layer on the kernels."""
    plain = linear_model()
    units = find_units(plain)
    return rewrite(plain, units, [unit.name for unit in units])


def make_sparse_package(folder: Path, **others: Path) -> Path:
    """Pack it with the library of this machine, and other files as those of other platforms."""
    source = write_model(folder / "model.sparse-cpu.onnx", sparse_model())
    path = folder / "package.zip"
    more = {name.replace("__", "-"): file for name, file in others.items()}
    write_package(
        path, model=source, golden_inputs=golden_inputs(), report=None, variant=SPARSE_CPU,
        libraries=libraries_for(None) | more,
    )  # fmt: skip
    return path
