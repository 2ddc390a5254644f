from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.reading import onnx_limits, onnx_wire
from wfpipe.exporters.reading.external_data import check_external_data
from wfpipe.exporters.reading.package_model import parse_model
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import linear_model
from wfpipe.tests.refusal import refusal_of

Change = Callable[[onnx.ModelProto], None]


def refused(model: onnx.ModelProto | bytes) -> str:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return refusal_of(lambda: parse_model(content, "model 'a.onnx'"))


def accepted(model: onnx.ModelProto) -> None:
    assert parse_model(model.SerializeToString(), "model 'a.onnx'").graph.node


def in_graph(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    model.graph.node.append(node)


def in_subgraph(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    graph = helper.make_graph([node], "g", [], [])
    model.graph.node.append(helper.make_node("If", ["c"], ["o"], then_branch=graph))


def in_function(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    opsets = [helper.make_opsetid("", 20)]
    model.functions.append(helper.make_function("f", "F", ["x"], ["y"], [node], opsets))


def in_training(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    model.training_info.add().algorithm.node.append(node)


@pytest.mark.parametrize("place", [in_graph, in_subgraph, in_function, in_training])
def test_operators_of_other_domains_are_refused_wherever_they_are(
    place: Callable[[onnx.ModelProto, onnx.NodeProto], None],
) -> None:
    model = linear_model()
    place(model, helper.make_node("Evil", ["x"], ["y"], name="n", domain="com.evil"))
    assert "node 'n' is 'Evil' of the operator set 'com.evil'" in refused(model)


@pytest.mark.parametrize("domain", sorted(onnx_limits.DOMAINS - {"wfpipe"}))
def test_operators_of_known_domains_are_accepted(domain: str) -> None:
    model = linear_model()
    in_graph(model, helper.make_node("Gelu", ["flat"], ["y"], domain=domain))
    accepted(model)


def test_nodes_that_load_compiled_models_are_refused() -> None:
    model = linear_model()
    in_graph(model, helper.make_node("EPContext", [], [], domain="com.microsoft", name="n"))
    assert "node 'n' may load a compiled model" in refused(model)


def chain(
    model: onnx.ModelProto, length: int, last: str, domain: str, *, uses: int = 2, graphs: int = 0
) -> list[onnx.FunctionProto]:
    """Functions F0, F1, … of which each uses the next, in this many graphs in graphs."""
    functions = []
    for index in range(length):
        kind = (f"F{index + 1}", "f") if index + 1 < length else (last, domain)
        body = [helper.make_node(kind[0], ["x"], ["y"], domain=kind[1]) for _ in range(uses)]
        for _ in range(graphs):
            inner = helper.make_graph(body, "g", [], [])
            body = [helper.make_node("If", ["x"], ["y"], then_branch=inner)]
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
        functions.append(helper.make_function("f", f"F{index}", ["x"], ["y"], body, opsets))
    in_graph(model, helper.make_node("F0", ["flat"], ["y"], domain="f"))
    model.functions.extend(functions)
    return functions


@pytest.mark.parametrize("leaf_first", [False, True])
@pytest.mark.parametrize(
    ("length", "graphs", "fits"),
    [
        (60, 0, True),
        (66, 0, False),
        (3000, 0, False),
        (10, 5, True),
        (12, 5, False),
        (60, 15, False),
    ],
)
def test_functions_in_functions_have_a_limit_in_whatever_order_they_stand(
    length: int, graphs: int, fits: bool, leaf_first: bool
) -> None:
    model = linear_model()
    functions = chain(model, length, "Relu", "", uses=1, graphs=graphs)
    if leaf_first:
        del model.functions[:]
        model.functions.extend(reversed(functions))
    if fits:
        accepted(model)
    else:
        assert "over more than 64 levels, which is the limit" in refused(model)


def test_functions_of_the_model_itself_are_accepted() -> None:
    model = linear_model()
    chain(model, 3, "Relu", "")
    accepted(model)


def test_functions_that_use_themselves_are_refused() -> None:
    model = linear_model()
    chain(model, 3, "F0", "f")
    assert "levels, which is the limit" in refused(model)


def test_functions_that_grow_without_bound_are_refused() -> None:
    model = linear_model()
    chain(model, 40, "Relu", "")
    assert "more than 100000 nodes" in refused(model)


def test_two_functions_of_one_name_are_refused() -> None:
    model = linear_model()
    for _ in range(2):
        in_function(model, helper.make_node("Relu", ["x"], ["y"]))
    assert "two functions of the same name" in refused(model)


@pytest.mark.parametrize(("depth", "fits"), [(15, True), (17, False)])
def test_graphs_in_graphs_have_a_limit(depth: int, fits: bool) -> None:
    model = linear_model()
    graph = helper.make_graph([helper.make_node("Relu", ["flat"], ["y"])], "g", [], [])
    for _ in range(depth):
        graph = helper.make_graph(
            [helper.make_node("If", ["c"], [], then_branch=graph)], "g", [], []
        )
    model.graph.node.extend(graph.node)
    if fits:
        accepted(model)
    else:
        assert "which is the limit" in refused(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensor: tensor.dims.insert(0, 2), "it holds 240 bytes"),
        (lambda tensor: tensor.dims.extend([-1, -1]), "its shape is (20, 3, -1, -1)"),
        (lambda tensor: tensor.dims.extend([0, 2**40]), "the limit is"),
        (lambda tensor: tensor.dims.extend([1] * 40), "it has 42 dimensions"),
        (lambda tensor: setattr(tensor, "data_type", 99), "its type is 99"),
        (lambda tensor: tensor.float_data.append(1.0), "it holds 240 bytes"),
        (lambda tensor: tensor.ClearField("raw_data"), "it holds 0 values"),
        (lambda tensor: tensor.segment.CopyFrom(TensorProto.Segment(begin=0)), "part of a tensor"),
    ],
)  # fmt: skip
def test_tensors_whose_values_do_not_fit_are_refused(
    change: Callable[[TensorProto], None], reason: str
) -> None:
    model = linear_model()
    change(model.graph.initializer[0])
    message = refused(model)
    assert "tensor 'fc.weight' cannot be read" in message
    assert reason in message


@pytest.mark.parametrize("name", ["float32", "float16", "int8", "int64", "bool", "complex64"])
def test_values_in_fields_of_their_type_are_accepted(name: str) -> None:
    model = linear_model()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    model.graph.initializer.append(helper.make_tensor("t", kind, [2, 2], [0, 1, 1, 0]))
    accepted(model)


@pytest.mark.parametrize(
    ("side", "dtype", "fits"),
    [
        (4000, np.float32, True), (100_000, np.float32, False),
        (4000, ml_dtypes.int4, True), (100_000, ml_dtypes.int4, False),
        (4000, np.complex128, False),
    ],
)  # fmt: skip
def test_sparse_tensors_grow_no_further_than_the_stated_multiple(
    side: int, dtype: type, fits: bool
) -> None:
    model = linear_model()
    values = numpy_helper.from_array(np.ones(1, dtype), "s")
    indices = numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [side, side]))
    if fits:
        accepted(model)
    else:
        size = max(4, np.dtype(dtype).itemsize)
        assert f"its sparse tensors grow to {size * side**2} bytes" in refused(model)


def test_shapes_of_values_that_no_machine_holds_are_refused() -> None:
    model = linear_model()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2**62
    assert "the shape of a value cannot be" in refused(model)


def test_a_newer_file_format_is_refused() -> None:
    model = linear_model()
    model.ir_version = onnx.IR_VERSION + 1
    assert "the newest that can be checked" in refused(model)


def test_fields_that_onnx_does_not_define_are_refused() -> None:
    node = helper.make_node("Relu", ["flat"], ["y"]).SerializeToString() + b"\xfa\x7f\x01x"
    graph = b"\x0a" + bytes([len(node)]) + node
    content = linear_model().SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph
    assert "a NodeProto has the field 2047" in refused(content)


def test_a_file_that_unfolds_in_memory_is_refused_before_it_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty_nodes = b"\x0a\x00" * 100_000
    length = len(empty_nodes)
    size = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
    content = linear_model().SerializeToString() + b"\x3a" + size + empty_nodes
    monkeypatch.setattr(onnx_wire, "FREE_BYTES", 0)
    monkeypatch.setattr(onnx, "load_model_from_string", None)
    assert "bytes of memory: a file of" in refused(content)


def test_messages_in_messages_have_a_limit() -> None:
    kind = onnx.TypeProto()
    for _ in range(80):
        outer = onnx.TypeProto()
        outer.optional_type.elem_type.CopyFrom(kind)
        kind = outer
    model = linear_model()
    model.graph.value_info.add().type.CopyFrom(kind)
    assert "levels of parts in parts" in refused(model)


def external(**entries: str) -> onnx.ModelProto:
    model = linear_model()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def checked(model: onnx.ModelProto, folder: Path) -> list[Path]:
    parsed = parse_model(model.SerializeToString(), "a.onnx")
    return check_external_data(parsed, folder, model.ByteSize(), "a.onnx")


def test_values_in_files_of_the_folder_are_accepted(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.bin").write_bytes(bytes(300))
    model = external(location="deep/w.bin", offset="60", length="240")
    assert checked(model, tmp_path) == [tmp_path / "deep" / "w.bin"]


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "../w.bin"}, {"location": "deep/../../w.bin"}, {"location": "/etc/passwd"},
        {"location": ""}, {"location": "."}, {}, {"location": "*/_ORT_MEM_ADDR_/*"},
        {"location": "w.bin", "length": "241"}, {"location": "w.bin", "length": "-1"},
        {"location": "w.bin", "offset": "1"}, {"location": "w.bin", "offset": "9" * 30},
        {"location": "none.bin"}, {"location": "deep"}, {"location": "link.bin"},
        {"location": "linked/w.bin"}, {"location": "c:\\w.bin"},
    ],
)  # fmt: skip
def test_values_elsewhere_or_beyond_their_file_are_refused(
    tmp_path: Path, entries: dict[str, str]
) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    for place in (tmp_path, folder, folder / "deep"):
        (place / "w.bin").write_bytes(bytes(240))
    (folder / "link.bin").symlink_to("w.bin")
    (folder / "linked").symlink_to("deep")
    with pytest.raises(InputError, match=r"tensor 'fc\.weight' cannot be read"):
        checked(external(**entries), folder)
