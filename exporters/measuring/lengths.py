"""Samples of other lengths, for files whose inputs leave the length of a sequence free."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from ...support.errors import InputError
from ...support.nests import Nest
from .inference import feed_of, predict

Array = np.ndarray[Any, Any]


def of_length(session: ort.InferenceSession, samples: Nest, length: int) -> dict[str, Array]:
    """Return samples cut to a length, or repeated up to it, by the names of the model's inputs.

    The length is the axis behind the batch, of those inputs that leave it free.

    Args:
        session: the model.
        samples: arrays (n, sequence, …).
        length: of the sequence.

    Raises:
        InputError: when no input leaves its length free.
    """
    feed = feed_of(session, samples)
    free = [v.name for v in session.get_inputs() if v.shape[1:] and not isinstance(v.shape[1], int)]
    if not free:
        raise InputError(
            "validate.lengths needs a model whose sequences may have any length: export it with "
            "export.dynamic=sequence"
        )
    for name in free:
        places = np.arange(length) % feed[name].shape[1]
        feed[name] = np.ascontiguousarray(np.take(feed[name], places, axis=1))
    return feed


def check_length(session: ort.InferenceSession, samples: Nest, length: int) -> None:
    """Try a model at a length.

    Raises:
        InputError: when it does not take it.
    """
    try:
        predict(session, of_length(session, samples, length))
    except InputError as error:
        raise InputError(f"validate.lengths: {length} does not work: {error}") from None
