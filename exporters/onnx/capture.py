"""From a module to an ONNX graph with a dynamic batch, through ``torch.export``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ...models.calling import arguments, input_names
from ...models.copying import copy_module, to_float32
from ...support.errors import InputError
from ...support.nests import Nest, each, names, plain, samples, tensors
from ..measuring.library_output import quiet
from .attention import AttentionWithHeads
from .dynamic import BATCH, axes_of
from .opset import CAPTURED, lower_opset

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


def on_cpu(nest: Nest) -> Nest:
    """Return inputs on the CPU, floats as float32."""
    return each(lambda t: (t.float() if t.is_floating_point() else t).detach().cpu(), nest)


def check_outputs(module: nn.Module, example: Nest) -> Nest:
    """Run ``module`` on ``example`` and return its outputs, each with a row for each sample.

    Raises:
        InputError: when it fails on the example or returns anything else.
    """
    try:
        with torch.no_grad(), quiet():
            args, kwargs = arguments(module, example)
            outputs = plain(module(*args, **kwargs))
    except Exception as error:
        raise InputError(
            f"the model fails on an input of shape {_shown(example)}: {_cause(error)}"
        ) from error
    if outputs is None:
        raise InputError("the model must return tensors, or tuples or mappings of them")
    count = samples(example)
    for name, output in zip(names(outputs, "the output"), tensors(outputs), strict=True):
        if output.shape[:1] != (count,):
            raise InputError(
                f"the model must return a row for each sample: for {count} samples {name} has "
                f"the shape {tuple(output.shape)}"
            )
    return outputs


def _shown(nest: Nest) -> str:
    found = [str(tuple(tensor.shape)) for tensor in tensors(nest)]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def output_names(outputs: Nest, single: str) -> list[str]:
    """Return the names of outputs in a file: keys of mappings, ``output_0`` and so on of tuples."""
    found = names(outputs, single)
    return [f"output_{name}" for name in found] if isinstance(outputs, tuple) else found


def capture_graph(
    module: nn.Module,
    example: Nest,
    outputs: Sequence[str],
    *,
    opset: int,
    dynamic: Sequence[str] = (),
) -> onnx.ModelProto:
    """Translate a module in eval mode on the CPU into ONNX, batch norms folded where they can be.

    The optimizer of the exporter folds a batch norm into the convolution or linear layer that
    alone feeds it; a layer whose output or weights are used elsewhere too keeps its batch norm.

    Args:
        module: as :func:`evaluation_copy` returns it.
        example: inputs, n >= 2 samples: the exporter takes a size of 1 for a constant.
        outputs: a name for each output.
        opset: version of the ONNX operator set; below 18 the graph is rewritten for it.
        dynamic: which dimensions stay free beside the batch, as :data:`.dynamic.AXES` names them.

    Raises:
        InputError: naming the first cause, when the model cannot be exported.
    """
    args, kwargs = arguments(module, example)
    shapes = {
        name: each(lambda tensor: _free_axes(tensor, dynamic), value)
        for name, value in inspect.signature(module.forward).bind(*args, **kwargs).arguments.items()
    }
    try:
        with quiet():
            with AttentionWithHeads():
                program = torch.export.export(
                    module, args, kwargs, dynamic_shapes=shapes, strict=False
                )
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                opset_version=max(opset, CAPTURED),
                input_names=input_names(module, example, INPUT_NAME),
                output_names=list(outputs),
                optimize=True,
                verbose=False,
            )
            assert exported is not None
            model: onnx.ModelProto = exported.model_proto
    except Exception as error:
        raise InputError(f"cannot export the model to ONNX: {_cause(error)}") from error
    got = {entry.domain: entry.version for entry in model.opset_import}.get("")
    if got != max(opset, CAPTURED):
        raise InputError(f"export.opset {opset} is not supported by this exporter (it wrote {got})")
    if opset < CAPTURED:
        lower_opset(model, opset)
    return model


def _free_axes(tensor: Tensor, names: Sequence[str]) -> Any:
    """Let PyTorch find out what multiple a free size must be of; the batch is free altogether."""
    sizes = {BATCH: torch.export.Dim(BATCH)}
    axes = axes_of(names, tensor.dim()).items()
    return {axis: sizes.get(name, torch.export.Dim.DYNAMIC) for axis, name in axes}


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
    if "Constraints violated" in text:
        return (
            "a size that export.dynamic leaves free is a fixed one in it, as the length is that "
            "recurrent layers run over: leave it out of export.dynamic"
        )
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
