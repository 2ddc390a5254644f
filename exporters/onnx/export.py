"""Write a module as one ONNX file that depends on the module alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from torch import nn

from ...support.errors import InputError, first_line
from ...support.files import write_bytes
from ...support.nests import Nest, each, samples
from ...support.progress import Reporter, Silent
from ...support.version import __version__
from .capture import (
    OUTPUT_NAME,
    capture_graph,
    check_outputs,
    contiguous,
    evaluation_copy,
    on_cpu,
    output_names,
)
from .clean import clean_zeros, name_axes, restore_names, set_metadata, strip_traces
from .dynamic import check_sizes
from .put_together import put_together
from .stored_forms import name_weights

SIZE_LIMIT = 2**31 - 1
"""The most bytes that one protobuf message, and so one ONNX file, can hold."""


def export_onnx(
    module: nn.Module,
    example: Nest,
    path: Path,
    *,
    opset: int,
    metadata: Mapping[str, str],
    dynamic: Sequence[str] = (),
    output: str = OUTPUT_NAME,
    reporter: Reporter | None = None,
) -> None:
    """Write ``module`` in eval mode to ``path``, for batches of any size.

    Inputs have the names of ``forward``'s arguments and outputs those of a mapping's keys; the only
    input is ``input``, and the only output has the name that is asked for.

    Batch norms are folded into the layers before them, subnormal weights are flushed to zero,
    and nothing of the exporting machine is left in the file: two exports of the same module are
    the same bytes. The module itself is not changed.

    Args:
        module: a network whose outputs have a row for each sample; on any device, in any mode.
        example: inputs of n >= 2 samples.
        path: the file to write; it appears whole or not at all.
        opset: version of the ONNX operator set.
        metadata: what the file says of itself, by key.
        dynamic: which dimensions stay free beside the batch, as :data:`.dynamic.AXES` names them.
        output: name of the output where there is one.
        reporter: where progress goes.

    Raises:
        InputError: when the model cannot be exported (one line, the first cause), does not
            return a row for each sample, or does not fit into one file.
    """
    if samples(example) < 2:
        raise InputError(f"the example must hold at least 2 samples, got {samples(example)}")
    with (reporter or Silent()).task(f"export {path.name}", 3, "stage") as task:
        duplicate = evaluation_copy(module)
        _check_size(sum(t.nbytes for t in (*duplicate.parameters(), *duplicate.buffers())))
        inputs = each(contiguous, on_cpu(example))
        outputs = check_outputs(duplicate, inputs)
        check_sizes(duplicate, inputs, dynamic)
        task.advance()
        names = output_names(outputs, output)
        model = capture_graph(duplicate, inputs, names, opset=opset, dynamic=dynamic)
        task.advance()
        strip_traces(model)
        name_axes(model, dynamic)
        parameters = dict(duplicate.named_parameters())
        put_together(model)
        restore_names(model, parameters)
        name_weights(model, parameters)
        clean_zeros(model)
        set_metadata(model, metadata, __version__)
        write_bytes(path, _serialise(model))
        task.advance()


def _serialise(model: onnx.ModelProto) -> bytes:
    _check_size(model.ByteSize())
    content: bytes = model.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise InputError(f"the exported graph is not valid ONNX: {first_line(error)}") from error
    return content


def _check_size(size: int) -> None:
    if size > SIZE_LIMIT:
        raise InputError(
            f"the model takes {size} bytes: one ONNX file holds at most {SIZE_LIMIT} (2 GB)"
        )
