"""Under which name an exported file holds each parameter of a module."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TensorProto
from torch import Tensor


def stored_names(model: ModelProto, parameters: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the name of each parameter's tensor in the graph; those that have none are left out.

    Names are kept by :func:`.export.export_onnx`. A tensor that the exporter shares between two
    parameters, such as tied weights, has the name of one of them: it is found by its content, as
    it is or transposed.

    Args:
        model: an exported graph that holds its weights.
        parameters: by name, as the module was exported.
    """
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    found = {name: name for name in parameters if name in tensors}
    missing = {name: value for name, value in parameters.items() if name not in found}
    if not missing:
        return found
    contents = {
        (tuple(tensor.dims), tensor.raw_data): name
        for name, tensor in tensors.items()
        if tensor.data_type == TensorProto.FLOAT
    }
    for name, parameter in missing.items():
        values = parameter.detach().cpu().float().numpy()
        for form in (values, values.T) if values.ndim == 2 else (values,):
            stored = contents.get((form.shape, np.ascontiguousarray(form).tobytes()))
            if stored is not None:
                found[name] = stored
                break
    return found
