"""A file in ONNX Runtime's own format (``.ort``), read as the ONNX model that it stands for.

The format is FlatBuffers by the schema ``ort.fbs`` of ONNX Runtime. Its parts are those of ONNX
under other numbers, so that every check of an ONNX model serves for these files too. Types of
values that are no tensors are left out, as is what the runtime alone needs: edges, kernels, and
optimisations that it has noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto

from ...support.errors import InputError
from .flatbuffer import FLOAT32, INT8, INT32, INT64, FlatBuffer, Malformed, Table
from .kernel_nodes import LeftOut
from .onnx_limits import MAX_GRAPH_DEPTH, tensor_bytes
from .onnx_walk import shown
from .onnx_wire import MAX_MESSAGES, Buffer, memory_limit

_IDENTIFIER = b"ORTM"  # behind the offset of the root
_TENSOR_TYPE = 1  # in the union of types
_VALUE, _PARAM = 1, 2  # kinds of dimensions
_POSITIONS = {TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64}


def is_ort(content: Buffer) -> bool:
    """Tell whether the bytes are in ONNX Runtime's format."""
    return content[4:8] == _IDENTIFIER


def is_ort_file(path: Path) -> bool:
    """Tell whether the file is in ONNX Runtime's format."""
    with path.open("rb") as file:
        return is_ort(file.read(8))


def check_name(name: str, content: Buffer, what: str) -> None:
    """Refuse a file in one format under the name of the other.

    Programs go by the name or by the content, and bytes can be made that are a model in both.

    Raises:
        InputError: when the name ends in ``.ort`` and the content is not in that format, or only
            the content is.
    """
    if is_ort(content) != name.lower().endswith(".ort"):
        kind = "ONNX Runtime's format" if is_ort(content) else "ONNX or another format"
        raise InputError(f"{what} is in {kind}, and its name says otherwise: call it .onnx or .ort")


def decode_ort(
    content: Buffer,
    what: str,
    *,
    large_bytes: int | None = None,
    left_out: dict[str, LeftOut] | None = None,
) -> ModelProto:
    """Read a file in ONNX Runtime's format; :mod:`.onnx_limits` checks what it holds.

    Args:
        content: the file, one for which :func:`is_ort` is true.
        what: the model as the user knows it, for the error.
        large_bytes: values of initializers that take more than this are left out, and the shape
            becomes ``[0]``; None: all values are read.
        left_out: takes the initializers whose values are left out, by name.

    Raises:
        InputError: when the bytes break a rule of the format, would take more memory than
            :func:`memory_limit` says, or tensors share bytes or refer to other files.
    """
    return _Decoder(content, what, large_bytes, {} if left_out is None else left_out).model()


class _Decoder:
    """Makes protobuf messages of tables; the numbers are slots of ``ort.fbs``."""

    def __init__(
        self, content: Buffer, what: str, large_bytes: int | None, left_out: dict[str, LeftOut]
    ) -> None:
        allowed = memory_limit(len(content))
        self.buffer = FlatBuffer(content, allowed=allowed, tables=MAX_MESSAGES)
        self.what = what
        self.large_bytes = large_bytes
        self.left_out = left_out
        self.left = len(content)  # bytes of values: none may belong to two tensors

    def model(self) -> ModelProto:
        try:
            stored = _there(self.buffer.root().table(6))
            model = ModelProto(
                ir_version=stored.number(4, INT64),
                graph=self.graph(_there(stored.table(18)), 0),
                producer_name=_text(stored.text(8)),
                producer_version=_text(stored.text(10)),
                domain=_text(stored.text(12)),
            )
            for entry in stored.tables(6):
                model.opset_import.add(domain=_text(entry.text(4)), version=entry.number(6, INT64))
            for entry in stored.tables(22):
                model.metadata_props.add(key=_text(entry.text(4)), value=_text(entry.text(6)))
        except (ValueError, TypeError, OverflowError) as error:  # numbers that protobuf refuses too
            raise InputError(f"{self.what} is damaged: {error}") from None
        if not model.opset_import or not model.graph.output:
            raise InputError(f"{self.what} is damaged: no operator set or output in it")
        return model

    def graph(self, table: Table, depth: int) -> GraphProto:
        if depth > MAX_GRAPH_DEPTH:
            raise Malformed(f"graphs in graphs over more than {MAX_GRAPH_DEPTH} levels")
        types = {_text(value.text(4)): value for value in table.tables(6)}
        outer = depth == 0
        return GraphProto(
            name="graph",
            initializer=[self.tensor(each, self.large_bytes) for each in table.tables(4)],
            sparse_initializer=[self.sparse(each) for each in table.tables(18)],
            node=[self.node(each, depth) for each in table.tables(8)],
            input=[_value(_text(name), types, typed=outer) for name in table.texts(14)],
            output=[_value(_text(name), types, typed=outer) for name in table.texts(16)],
        )

    def node(self, table: Table, depth: int) -> NodeProto:
        return NodeProto(
            name=_text(table.text(4)),
            domain=_text(table.text(8)),
            op_type=_text(table.text(14)),
            input=map(_text, table.texts(20)),
            output=map(_text, table.texts(22)),
            attribute=[self.attribute(each, depth) for each in table.tables(24)],
        )

    def attribute(self, table: Table, depth: int) -> AttributeProto:
        """Read an attribute: the field of its type, which is all that the runtime looks at."""
        found = AttributeProto(name=_text(table.text(4)), type=table.number(8, INT32))
        match found.type:
            case AttributeProto.FLOAT:
                found.f = table.number(10, FLOAT32)
            case AttributeProto.INT:
                found.i = table.number(12, INT64)
            case AttributeProto.STRING:
                found.s = table.text(14)
            case AttributeProto.TENSOR:
                found.t.CopyFrom(self.tensor(_there(table.table(16))))
            case AttributeProto.GRAPH:
                found.g.CopyFrom(self.graph(_there(table.table(18)), depth + 1))
            case AttributeProto.FLOATS:
                found.floats.extend(table.numbers(20, FLOAT32))
            case AttributeProto.INTS:
                found.ints.extend(table.numbers(22, INT64))
            case AttributeProto.STRINGS:
                found.strings.extend(table.texts(24))
            case AttributeProto.TENSORS:
                found.tensors.extend(map(self.tensor, table.tables(26)))
            case AttributeProto.GRAPHS:
                found.graphs.extend(self.graph(each, depth + 1) for each in table.tables(28))
            case _:
                raise Malformed(f"attribute {shown(found.name)} is of a kind that is unknown here")
        return found

    def tensor(self, table: Table, large_bytes: int | None = None) -> TensorProto:
        tensor = TensorProto(
            name=_text(table.text(4)),
            dims=table.numbers(8, INT64),
            data_type=table.number(10, INT32),
        )
        name = shown(tensor.name)
        if table.number(16, INT64, default=-1) != -1:
            raise Malformed(f"tensor {name} is kept in another file")
        if tensor.data_type == TensorProto.STRING:
            tensor.string_data.extend(table.texts(14))
            return tensor
        start, length = table.span(12, 1)
        if length != (wanted := tensor_bytes(tensor)):
            raise Malformed(
                f"tensor {name} holds {length} bytes, and its shape and type say {wanted}"
            )
        self.left -= length
        if self.left < 0:
            raise Malformed("tensors share their bytes")
        if large_bytes is not None and length > large_bytes:
            self.left_out[tensor.name] = LeftOut(
                tuple(tensor.dims), partial(self.bytes_at, start, length)
            )
            tensor.dims[:] = [0]
            length = 0
        tensor.raw_data = self.bytes_at(start, length)
        return tensor

    def bytes_at(self, start: int, length: int) -> bytes:
        return self.buffer.content[start : start + length]

    def sparse(self, table: Table) -> SparseTensorProto:
        """Read a sparse tensor; the format stores its positions in as few bytes as they need."""
        indices = self.tensor(_there(table.table(6)))
        if indices.data_type not in _POSITIONS:
            raise Malformed("the positions of a sparse tensor are no whole numbers")
        self.buffer.spend(8 * len(indices.raw_data))
        wide = onnx.numpy_helper.to_array(indices).astype(np.int64)
        return SparseTensorProto(
            values=self.tensor(_there(table.table(4))),
            indices=onnx.numpy_helper.from_array(wide, indices.name),
            dims=table.numbers(8, INT64),
        )


def _there(table: Table | None) -> Table:
    if table is None:
        raise Malformed("a part of it is not there")
    return table


def _value(name: str, types: dict[str, Table], *, typed: bool) -> onnx.ValueInfoProto:
    """Return an input or output; those of inner graphs need no type."""
    value = onnx.ValueInfoProto(name=name)
    info = types[name].table(8) if typed and name in types else None
    found = info.table(8) if info and info.number(6, INT8) == _TENSOR_TYPE else None
    if found is None:
        return value
    value.type.tensor_type.elem_type = found.number(4, INT32)
    if shape := found.table(6):
        value.type.tensor_type.shape.dim.extend(_dimensions(shape))
    return value


def _dimensions(shape: Table) -> Iterator[onnx.TensorShapeProto.Dimension]:
    for dimension in shape.tables(4):
        size = dimension.table(4)
        kind = size.number(4, INT8) if size else 0
        if size and kind == _VALUE:
            yield onnx.TensorShapeProto.Dimension(dim_value=size.number(6, INT64))
        elif size and kind == _PARAM:
            yield onnx.TensorShapeProto.Dimension(dim_param=_text(size.text(8)))
        else:
            yield onnx.TensorShapeProto.Dimension()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Malformed("names or metadata in it are not UTF-8") from None
