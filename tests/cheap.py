"""What jobs of one process need not do each time: tables, the demo's graph, long warm-ups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any
from unittest.mock import patch

import onnx
from torch import nn

from wfpipe.exporters.measuring import latency
from wfpipe.support.nests import Nest, tensors


def make_jobs_cheap() -> None:
    """Have all jobs of this process export with shared tables, and warm models up for three runs.

    Models are warmed up for the time that it takes to measure well; no claim made here rests on
    that.
    """
    _keep_tables()
    _keep_demo()
    latency.WARM_UP_SECONDS = 0


def _keep_tables() -> None:
    """Have all exports of this process share one table of translations, and one of operators.

    PyTorch makes the first anew for each export, from the source of 500 functions: a quarter of the
    time that the export of a small network takes. It is always the same; what an export adds stays
    its own. The second it fills dozens of times in each export, with what is in it already.
    """
    from torch._export import utils
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    made = cache(ONNXRegistry.from_torchlib)

    def from_torchlib(**of: int) -> ONNXRegistry:
        table, copy = made(**of), ONNXRegistry()
        copy._opset_version = table.opset_version
        copy.functions = {operator: list(found) for operator, found in table.functions.items()}
        return copy

    patch.object(ONNXRegistry, "from_torchlib", staticmethod(from_torchlib)).start()
    fill = cache(utils._materialize_cpp_cia_ops)
    patch.object(utils, "_materialize_cpp_cia_ops", fill).start()


def _keep_demo() -> None:
    """Have the network of the demo captured once with the same weights.

    Every job on it begins with the export of the dense network, as a search's trials do too. That
    two exports are the same bytes is tested with other networks.
    """
    from wfpipe.exporters.onnx import export
    from wfpipe.exporters.onnx.capture import capture_graph as capture
    from wfpipe.models.digits_cnn import DigitsCnn

    kept: dict[str, bytes] = {}

    def capture_once(
        module: nn.Module, example: Nest, outputs: Sequence[str], **options: Any
    ) -> onnx.ModelProto:
        if type(module) is not DigitsCnn:
            return capture(module, example, outputs, **options)
        shapes = [tensor.shape for tensor in tensors(example)]
        seen = hashlib.sha256(repr((shapes, list(outputs), sorted(options.items()))).encode())
        for name, value in module.state_dict().items():
            seen.update(name.encode() + value.numpy().tobytes())
        key = seen.hexdigest()
        if key not in kept:
            made = capture(module, example, outputs, **options)
            kept[key] = made.SerializeToString()
        return onnx.load_model_from_string(kept[key])

    patch.object(export, "capture_graph", capture_once).start()
