"""What an ONNX file costs to store, to send and to load."""

from __future__ import annotations

import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from onnx import TensorProto

from ..reading.onnx_graph import graphs, read_model, to_array
from .session import SessionSettings, default_threads, open_session

_PART = 1 << 22  # bytes compressed at a time on a core: a heuristic
_WINDOW = 1 << zlib.MAX_WBITS
_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


def file_bytes(path: Path) -> int:
    """Return the size of the file in bytes."""
    return path.stat().st_size


def deflated_bytes(path: Path) -> int:
    """Return the bytes of the file's content as a raw DEFLATE stream.

    That is the content's size inside a zip archive or under HTTP compression, less their headers.
    Parts are compressed on all cores, each in the shorter of two ways: by runs alone, which suits
    numbers among zeros, or by repeats too (level 6), which suits names. Searching for repeats at
    level 9 would take many times as long, and numbers hold none.
    """
    starts = range(0, max(1, file_bytes(path)), _PART)
    with ThreadPoolExecutor(default_threads()) as pool:
        return sum(len(part) for part in pool.map(partial(deflated_part, path), starts))


def deflated_part(path: Path, start: int) -> bytes:
    """Return the piece of the file's DEFLATE stream that stands for 4 MiB from ``start`` on."""
    begin = max(0, start - _WINDOW)
    with path.open("rb") as file:
        file.seek(begin)
        before, content = file.read(start - begin), file.read(_PART)
        last = not file.read(1)

    def deflated(strategy: int) -> bytes:
        deflate = zlib.compressobj(
            6, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy, before
        )
        return deflate.compress(content) + deflate.flush(
            zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH
        )

    return min(deflated(zlib.Z_RLE), deflated(zlib.Z_DEFAULT_STRATEGY), key=len)


def nonzeros(path: Path) -> int:
    """Return how many numbers in the file's float and quantised tensors are not zero.

    Those of a sparse tensor count like those of a plain one; a quantised number is zero where it
    equals the zero point, which wfpipe keeps at 0 for weights.

    Raises:
        InputError: when the file is not a readable ONNX file or one in ONNX Runtime's format.
    """
    model = read_model(path)
    quantised = {
        node.input[0]
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    }
    return sum(
        int(np.count_nonzero(to_array(tensor, path)))
        for graph in graphs(model.graph)
        for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))
        if tensor.data_type in _FLOATS or tensor.name in quantised
    )


def load_ms(path: Path, settings: SessionSettings, repeats: int = 5) -> float:
    """Return the median time in milliseconds to open a session from the file, of ``repeats``.

    The file is in the operating system's cache then: the time is that of reading, optimising
    and preparing the graph.

    Raises:
        InputError: when the file cannot be opened so.
    """
    times = []
    for _ in range(repeats):
        start = time.perf_counter_ns()
        open_session(path, settings)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return float(np.median(times))
