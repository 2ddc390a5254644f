"""Forms of a pruned model that a deployment may want, one per file, each made from the plain file.

The plain file, its zeros written out like other numbers, is not among them: it is always there.
"""

from __future__ import annotations

FILES = {
    "sparse-cpu": "model.sparse-cpu.onnx",
    "sparse": "model.sparse.onnx",
    "int8": "model.int8.onnx",
    "fp16": "model.fp16.onnx",
    "ort": "model.ort",
}
"""Names of the forms, and of their files in a run directory."""

OPERATORS_FILE = "model.required_operators.config"
"""Lists what a minimal build of ONNX Runtime needs for ``model.ort``."""
