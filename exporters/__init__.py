"""A module, tensors or arrays in; files and measurements out."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""Read when ONNX Runtime is imported, from 1.29 on: it says nothing of models to its makers."""
