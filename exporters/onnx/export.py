"""Write a module as one ONNX file that depends on the module alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
from torch import Tensor, nn

from ...support.errors import InputError, first_line
from ...support.files import write_bytes
from ...support.progress import Reporter, Silent
from ...support.version import __version__
from .capture import capture_graph, check_outputs, contiguous, evaluation_copy
from .clean import clean_zeros, name_axes, restore_names, set_metadata, strip_traces
from .dynamic import check_sizes, free_axes

SIZE_LIMIT = 2**31 - 1
"""The most bytes that one protobuf message, and so one ONNX file, can hold."""


def export_onnx(
    module: nn.Module,
    example: Tensor,
    path: Path,
    *,
    opset: int,
    metadata: Mapping[str, str],
    dynamic: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> None:
    """Write ``module`` in eval mode to ``path``: input ``input``, output ``logits``, any batch.

    Batch norms are folded into the layers before them, subnormal weights are flushed to zero,
    and nothing of the exporting machine is left in the file: two exports of the same module are
    the same bytes. The module itself is not changed.

    Args:
        module: a network that returns one tensor (n, classes); on any device, in any mode.
        example: float32 input (n, *shape), n >= 2.
        path: the file to write; it appears whole or not at all.
        opset: version of the ONNX operator set.
        metadata: what the file says of itself, by key.
        dynamic: which dimensions stay free beside the batch, as :data:`.dynamic.AXES` names them.
        reporter: where progress goes.

    Raises:
        InputError: when the model cannot be exported (one line, the first cause), does not
            return one tensor (n, classes), or does not fit into one file.
    """
    if len(example) < 2:
        raise InputError(f"the example must hold at least 2 samples, got {len(example)}")
    with (reporter or Silent()).task(f"export {path.name}", 3, "stage") as task:
        duplicate = evaluation_copy(module)
        _check_size(sum(t.nbytes for t in (*duplicate.parameters(), *duplicate.buffers())))
        inputs = contiguous(example.detach().cpu().float())
        check_outputs(duplicate, inputs)
        check_sizes(duplicate, inputs, dynamic)
        task.advance()
        model = capture_graph(duplicate, inputs, opset=opset, dynamic=dynamic)
        task.advance()
        strip_traces(model)
        name_axes(model, free_axes(dynamic, inputs.dim()))
        restore_names(model, dict(duplicate.named_parameters()))
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
