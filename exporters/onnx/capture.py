"""From a module to an ONNX graph with a dynamic batch, through ``torch.export``."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from ...models.copying import copy_module, to_float32
from ...support.errors import InputError
from ..measuring.library_output import quiet

INPUT_NAME = "input"
OUTPUT_NAME = "logits"


def evaluation_copy(module: nn.Module) -> nn.Module:
    """Return a copy of ``module`` in eval mode: float32, on the CPU, in contiguous format.

    Raises:
        InputError: when the module cannot be copied.
    """
    duplicate = to_float32(copy_module(module))
    for tensor in (*duplicate.parameters(), *duplicate.buffers()):
        tensor.data = contiguous(tensor.data)
    return duplicate.eval().requires_grad_(False)


def contiguous(tensor: Tensor) -> Tensor:
    """Return a copy with the strides of the contiguous format, also where a dimension is 1.

    ``Tensor.contiguous`` leaves a single channel the strides of the channels-last format, for
    which PyTorch then exports other operators: a pooling becomes a gather over computed places.
    """
    return tensor.clone(memory_format=torch.contiguous_format)


def check_outputs(module: nn.Module, example: Tensor) -> None:
    """Run ``module`` on ``example`` (n, *shape) and check that it returns one tensor (n, classes).

    Raises:
        InputError: when it fails on the example or returns anything else.
    """
    try:
        with torch.no_grad(), quiet():
            output = module(example)
    except Exception as error:
        shape = tuple(example.shape)
        raise InputError(
            f"the model fails on an input of shape {shape}: {_cause(error)}"
        ) from error
    if not isinstance(output, Tensor):
        raise InputError(
            f"the model must return one tensor (n, classes), it returns a {type(output).__name__}"
        )
    if not output.is_floating_point():
        raise InputError(f"the model must return floats, it returns {output.dtype}")
    if output.dim() != 2 or len(output) != len(example):
        raise InputError(
            f"the model must return one tensor (n, classes), for n = {len(example)} it returns "
            f"one of shape {tuple(output.shape)}"
        )


def capture_graph(module: nn.Module, example: Tensor, *, opset: int) -> onnx.ModelProto:
    """Translate a module in eval mode on the CPU into ONNX, batch norms folded where they can be.

    The optimizer of the exporter folds a batch norm into the convolution or linear layer that
    alone feeds it; a layer whose output or weights are used elsewhere too keeps its batch norm.

    Args:
        module: as :func:`evaluation_copy` returns it.
        example: input (n, *shape), n >= 2: the exporter takes a size of 1 for a constant.
        opset: version of the ONNX operator set.

    Raises:
        InputError: naming the first cause, when the model cannot be exported.
    """
    batch = ({0: torch.export.Dim("batch")},)
    try:
        with quiet():
            program = torch.export.export(module, (example,), dynamic_shapes=batch, strict=False)
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=opset,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                optimize=True,
                verbose=False,
            )
            assert exported is not None
            model: onnx.ModelProto = exported.model_proto
    except Exception as error:
        raise InputError(f"cannot export the model to ONNX: {_cause(error)}") from error
    got = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if got != opset:
        raise InputError(f"export.opset {opset} is not supported by this exporter (it wrote {got})")
    return model


def _cause(error: BaseException) -> str:
    """Return the first cause of an error in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    operator = re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", text)
    if operator:
        return f"the operator {operator[1]} has no ONNX form"
    if "Constraints violated (batch)" in text:
        return "it works at one batch size only: use x.shape[0] or -1 in place of a fixed size"
    if "data-dependent" in text:
        return (
            f"what it computes depends on the values of its input{_source_line(text)}: "
            "replace branches and loops on values by torch.where or torch.cond"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    summary = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return summary if len(summary) <= 300 else summary[:297] + "..."


def _source_line(text: str) -> str:
    where = re.search(r'File "([^"]+)", line (\d+), in \w+\n {4}(.+)', text)
    return f" ({Path(where[1]).name}, line {where[2]}: {where[3].strip()})" if where else ""
