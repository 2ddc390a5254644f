"""Files in ONNX Runtime's own format, read without the runtime and without trust."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from wfpipe.exporters.measuring.library_output import quiet
from wfpipe.exporters.measuring.session import SessionSettings, session_entries
from wfpipe.exporters.onnx.zeros import layer_figures
from wfpipe.exporters.packaging.inspection import inspect_file
from wfpipe.exporters.reading import onnx_limits, ort_file
from wfpipe.exporters.reading.flatbuffer import FlatBuffer, Table
from wfpipe.exporters.reading.onnx_graph import graphs, read_model, weights
from wfpipe.exporters.reading.onnx_outline import parse_outline
from wfpipe.exporters.reading.ort_file import is_ort, is_ort_file
from wfpipe.exporters.reading.package_model import open_packable, parse_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import linear_model, result_or_line
from wfpipe.tests.exporters.variants.plain import METADATA, write_plain
from wfpipe.tests.fuzz.samples import models, ort_models, to_ort
from wfpipe.tests.refusal import refusal_of

WHAT = "model 'a.ort'"


def refused(content: bytes) -> str:
    return refusal_of(lambda: parse_model(content, WHAT))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plain(tmp_path_factory.mktemp("plain") / "model.onnx")


@pytest.fixture(scope="module")
def path(plain: Path) -> Path:
    plain.with_suffix(".ort").write_bytes(to_ort(plain.read_bytes()))
    return plain.with_suffix(".ort")


def generated_reader(content: bytes) -> Any:
    """The graph as the readers that ship with ONNX Runtime see it."""
    with quiet():
        from onnxruntime.tools.ort_format_model.ort_model_processor import fbs
    session = fbs.InferenceSession.InferenceSession.GetRootAs(bytearray(content), 0)
    return session.Model().Graph()


def inner_graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        for place in range(node.AttributesLength()):
            if node.Attributes(place).Type() == AttributeProto.GRAPH:
                yield from inner_graphs(node.Attributes(place).G())


@pytest.mark.parametrize("number", range(len(models())))
def test_nodes_and_tensors_are_those_that_the_runtimes_own_reader_sees(number: int) -> None:
    content = ort_models()[number]
    model = parse_model(content, WHAT)
    expected = list(inner_graphs(generated_reader(content)))
    found = list(graphs(model.graph))
    assert len(found) == len(expected)
    for graph, other in zip(found, expected, strict=True):
        nodes = [other.Nodes(index) for index in range(other.NodesLength())]
        assert [(n.op_type, n.domain, list(n.input), list(n.output)) for n in graph.node] == [
            (
                n.OpType().decode(), n.Domain().decode(),
                [n.Inputs(i).decode() for i in range(n.InputsLength())],
                [n.Outputs(i).decode() for i in range(n.OutputsLength())],
            )
            for n in nodes
        ]  # fmt: skip
        tensors = [other.Initializers(index) for index in range(other.InitializersLength())]
        assert [(t.name, list(t.dims), t.raw_data) for t in graph.initializer] == [
            (
                t.Name().decode(),
                [t.Dims(i) for i in range(t.DimsLength())],
                t.RawDataAsNumpy().tobytes(),
            )
            for t in tensors
        ]


def with_attributes() -> bytes:
    """A model with a subgraph that stays one, and attributes of several kinds."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["copy"], ["out"])], "g", [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model, make = linear_model(), helper.make_node
    model.graph.node.extend(
        [
            make("Identity", ["input"], ["copy"]),
            make("Shape", ["copy"], ["size"], start=0, end=1),
            make("ReduceMax", ["size"], ["most"], keepdims=0),
            make("Cast", ["most"], ["yes"], to=TensorProto.BOOL),
            make("If", ["yes"], ["x"], then_branch=branch, else_branch=branch),
            make("Elu", ["x"], ["y"], alpha=0.25),
            make("RandomUniformLike", ["y"], ["z"], low=-0.5, seed=3.0),
        ]
    )
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    return to_ort(model.SerializeToString())


def test_attributes_of_every_kind_come_back() -> None:
    read = parse_model(with_attributes(), WHAT)
    found = {
        (node.op_type, each.name): helper.get_attribute_value(each)
        for node in read.graph.node
        for each in node.attribute
        if each.type != AttributeProto.GRAPH
    }
    assert found["Elu", "alpha"] == 0.25
    assert found["RandomUniformLike", "low"] == -0.5
    assert found["Shape", "end"] == 1
    conditional = next(node for node in read.graph.node if node.op_type == "If")
    assert {each.name for each in conditional.attribute} == {"then_branch", "else_branch"}
    assert [graph.node[0].op_type for graph in list(graphs(read.graph))[1:]] == ["Identity"] * 2


def test_weights_zeros_and_metadata_are_those_of_the_plain_file(plain: Path, path: Path) -> None:
    assert is_ort_file(path)
    assert not is_ort_file(plain)
    stored, expected = weights(read_model(path)), weights(read_model(plain))
    assert set(stored) == set(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(
            numpy_helper.to_array(stored[name]), numpy_helper.to_array(tensor)
        )
    by_name = {layer.name: layer.sparsity for layer in layer_figures(path)}
    assert by_name == {layer.name: layer.sparsity for layer in layer_figures(plain)}
    inspected = inspect_file(path)
    assert (inspected.kind, inspected.metadata) == ("ort", METADATA)
    assert inspected.nonzeros == inspect_file(plain).nonzeros


@pytest.mark.parametrize("read", [read_model, inspect_file, lambda path: open_packable(path, WHAT)])
def test_a_file_under_the_name_of_the_other_format_is_refused(
    plain: Path, path: Path, tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """Bytes can be a model in both formats: what is checked must be what is run."""
    for source, name in ((path, "a.onnx"), (plain, "a.ort")):
        (tmp_path / name).write_bytes(source.read_bytes())
        with pytest.raises(InputError, match="its name says otherwise"):
            read(tmp_path / name)


@pytest.mark.parametrize("suffix", [".onnx", ".ort"])
def test_the_runtime_is_told_the_format(plain: Path, suffix: str) -> None:
    entries = session_entries(plain.with_suffix(suffix), SessionSettings("cpu", 1))
    assert entries["session.load_model_format"] == suffix[1:].upper()


def test_inputs_and_outputs_are_as_the_runtime_says(path: Path) -> None:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    model = read_model(path)
    for stored, expected in (
        (model.graph.input, session.get_inputs()),
        (model.graph.output, session.get_outputs()),
    ):
        assert [value.name for value in stored] == [value.name for value in expected]
        assert [
            [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
            for value in stored
        ] == [value.shape for value in expected]


def test_an_outline_holds_no_large_values(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfpipe.exporters.reading.onnx_outline.LARGE_BYTES", 1000)
    whole, outline = (read(path.read_bytes(), WHAT) for read in (parse_model, parse_outline))
    held = {tensor.name: len(tensor.raw_data) for tensor in outline.graph.initializer}
    for tensor in whole.graph.initializer:
        assert held[tensor.name] == (len(tensor.raw_data) if len(tensor.raw_data) <= 1000 else 0)
    assert 0 in held.values()
    assert [node.op_type for node in outline.graph.node] == [n.op_type for n in whole.graph.node]


def tensor_tables(content: bytes) -> list[Table]:
    buffer = FlatBuffer(content, allowed=1 << 30, tables=1 << 20)
    model = buffer.root().table(6)
    assert model is not None
    graph = model.table(18)
    assert graph is not None
    return list(graph.tables(4))


def with_number(content: bytes, at: int, value: int, kind: str = "<I") -> bytes:
    changed = bytearray(content)
    struct.pack_into(kind, changed, at, value)
    return bytes(changed)


def test_tensors_that_share_their_bytes_are_refused(path: Path) -> None:
    content = path.read_bytes()
    slot = 12  # of the values
    largest = max(tensor_tables(content), key=lambda table: table.span(slot, 1)[1])
    vector = largest.span(slot, 1)[0] - 4
    wanted, shape = largest.span(slot, 1)[1], largest.span(8, 8)[0] - 4
    for table in tensor_tables(content):
        place, dims = table._place(slot), table._place(8)
        assert place is not None
        assert dims is not None
        if table.span(slot, 1)[1] != wanted and place < vector and dims < shape:
            content = with_number(content, place, vector - place)
            content = with_number(content, dims, shape - dims)
    assert "tensors share their bytes" in refused(content)


def test_values_that_do_not_fit_the_shape_are_refused(path: Path) -> None:
    content = path.read_bytes()
    start, _ = tensor_tables(content)[0].span(8, 8)
    assert "its shape and type say" in refused(with_number(content, start, 5, "<q"))
    assert "its shape is (-5," in refused(with_number(content, start, -5, "<q"))


def test_values_in_another_file_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_number = Table.number

    def number(self: Table, slot: int, kind: struct.Struct, default: int = 0) -> Any:
        return 0 if default == -1 else plain_number(self, slot, kind, default)

    monkeypatch.setattr(Table, "number", number)
    assert "is kept in another file" in refused(path.read_bytes())


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (b"FusedConv", b"EPContext", "may load a compiled model from a file"),
        (b"com.microsoft", b"com.nobody.at", "of the operator set 'com.nobody.at'"),
        (b"conv1.weight", b"conv1.\xff\xfeight", "not UTF-8"),
    ],
)
def test_what_no_onnx_model_may_hold_is_refused_here_too(
    path: Path, old: bytes, new: bytes, line: str
) -> None:
    assert line in refused(path.read_bytes().replace(old, new))


def test_too_many_parts_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort_file, "MAX_MESSAGES", 20)
    assert "it has too many parts" in refused(path.read_bytes())


def test_too_much_memory_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ort_file, "memory_limit", lambda size: 5000)
    assert "too much memory for a file of its size" in refused(path.read_bytes())


def test_graphs_in_graphs_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    content = with_attributes()
    assert parse_model(content, WHAT).graph.node
    for module in (ort_file, onnx_limits):
        monkeypatch.setattr(module, "MAX_GRAPH_DEPTH", 0)
    assert "graphs in graphs over more than 0 levels" in refused(content)


@pytest.mark.parametrize("size", range(8, 400, 13))
def test_a_cut_file_is_refused(path: Path, size: int) -> None:
    assert is_ort(path.read_bytes()[:size])
    assert "is damaged" in refused(path.read_bytes()[:size])


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_offset_may_be_wrong(data: st.DataObject) -> None:
    content = ort_models()[data.draw(st.integers(0, len(models()) - 1))]
    at = data.draw(st.integers(8, len(content) - 4))
    value = data.draw(
        st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 64), st.integers(-64, -1))
    )
    changed = with_number(content, at, value % 2**32)
    found = result_or_line(lambda: parse_model(changed, WHAT))
    assert found is None or (isinstance(found, onnx.ModelProto) and found.graph.output)
