"""Nodes that break a rule are refused when the session is made, inputs when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from wfpipe.tests.exporters.runtime.library import kernels
from wfpipe.tests.exporters.runtime.tile_models import model, node, session, window

SIZE = [1, 8, 5, 5]
GOOD = window((3, 3), (5, 5), pads=[1, 1, 1, 1]) | {"in_channels": 8}
TENSORS: dict[str, Any] = {
    "values": np.ones(4, np.float32),
    "gaps": np.array([0, 68, 3, 1], np.uint8),
    "rows": np.array([0, 2, 2, 4], np.int32),
}
NAMES = ["t", "values", "gaps", "rows"]


@pytest.fixture(scope="module")
def library():
    given = os.environ.get("WFPIPE_TEST_LIBRARY")
    return Path(given) if given else kernels()


def opened(library, *, tensors=None, names=None, **attributes):
    """Open a model of one SparseConv of 8 to 3 channels, with what a test changes."""
    nodes = [
        node("ToTiles", ["x"], "t"),
        node("SparseConv", names or NAMES, "y", **(GOOD | attributes)),
    ]
    return session(library, model(nodes, {"x": SIZE}, TENSORS | (tensors or {})))


def test_the_node_that_the_others_change_is_accepted(library):
    x = np.ones(SIZE, np.float32)
    assert opened(library).run(None, {"x": x})[0].shape[2] == 3


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"in_channels": 0}, "in_channels is out of range"),
        ({"in_channels": 2**40}, "in_channels is out of range"),
        ({"in_channels": 7}, "a column lies outside of the weight"),
        ({"group": 3}, "group must divide"),
        ({"group": 0}, "group must divide"),
        ({"group": -8}, "group must divide"),
        ({"kernel_shape": []}, "kernel_shape must have one or two entries"),
        ({"kernel_shape": [3, 3, 3]}, "kernel_shape must have one or two entries"),
        ({"kernel_shape": [9, 9]}, "the kernel is larger than the padded input"),
        ({"kernel_shape": [0, 3]}, "kernel_shape is out of range"),
        ({"strides": [1]}, "strides has another number of entries"),
        ({"strides": [0, 1]}, "strides is out of range"),
        ({"pads": [1, 1]}, "pads has another number of entries"),
        ({"pads": [-1, 1, 1, 1]}, "pads is out of range"),
        ({"pads": [2**62, 1, 1, 1]}, "pads is out of range"),
        ({"dilations": [2**62, 1]}, "dilations is out of range"),
        ({"input_size": []}, "input_size is missing"),
        ({"input_size": [2**24, 2**24]}, "larger than 2\\^26 positions"),
        ({"in_channels": 2**22}, "the weight has more than 2\\^24 columns"),
        ({"input_size": [-5, 5]}, "input_size is out of range"),
        ({"activation": "softmax"}, "activation is none that is known"),
        ({"activation": "x" * 100}, "activation is longer than any known word"),
        ({"activation": "clip", "low": 2.0, "high": 1.0}, "low must not be above high"),
    ],
)
def test_an_attribute_that_breaks_a_rule_is_refused(library, change, rule):
    with pytest.raises(Exception, match=f"wfpipe SparseConv: .*{rule}"):
        opened(library, **change)


@pytest.mark.parametrize(
    ("tensor", "value", "rule"),
    [
        ("values", np.ones(3, np.float32), "lists of one length"),
        ("values", np.ones((4, 1), np.float32), "lists of one length"),
        ("values", np.ones(4, np.float64), "float32 or float16"),
        ("values", np.ones(4, np.int32), "float32 or float16"),
        ("gaps", np.array([0, 72, 3, 1], np.uint8), "a column lies outside"),
        ("gaps", np.array([0, 0, 3, 1], np.uint8), "gaps after the first of a row"),
        ("rows", np.array([1, 2, 2, 4], np.int32), "rows must begin with 0"),
        ("rows", np.array([0, 2, 2, 5], np.int32), "rows must begin with 0"),
        ("rows", np.array([0, 3, 2, 4], np.int32), "rows must rise"),
        ("rows", np.array([0, 9, 2, 4], np.int32), "rows must rise"),
        ("rows", np.array([0, -9, 2, 4], np.int32), "rows must rise"),
        ("rows", np.array([4], np.int32), "a list of two or more"),
        ("rows", np.zeros(0, np.int32), "a list of two or more"),
    ],
)
def test_a_tensor_that_breaks_a_rule_is_refused(library, tensor, value, rule):
    with pytest.raises(Exception, match=f"wfpipe SparseConv: .*{rule}"):
        opened(library, tensors={tensor: value})


def test_a_bias_of_another_length_is_refused(library):
    with pytest.raises(Exception, match="bias must be a float32 for each output channel"):
        opened(library, names=[*NAMES, "b"], tensors={"b": np.ones(4, np.float32)})


def test_weights_that_are_computed_are_refused(library):
    nodes = [
        node("ToTiles", ["x"], "t"),
        helper.make_node("ReduceSum", ["x"], ["values"], keepdims=0),
        node("SparseConv", NAMES, "y", **GOOD),
    ]
    constants = {name: TENSORS[name] for name in ("gaps", "rows")}
    with pytest.raises(Exception, match="values, gaps and rows must be constant"):
        session(library, model(nodes, {"x": SIZE}, constants))


@pytest.mark.parametrize("shape", [[1, 8, 9, 9], [1, 7, 5, 5], [1, 8, 1, 1], [1, 8]])
def test_an_input_of_another_shape_is_refused_when_it_comes(library, shape):
    nodes = [node("ToTiles", ["x"], "t"), node("SparseConv", NAMES, "y", **GOOD)]
    dims = [f"d{i}" for i in range(len(shape))]
    opened = session(library, model(nodes, {"x": dims}, TENSORS))
    with pytest.raises(Exception, match="wfpipe SparseConv: X has"):
        opened.run(None, {"x": np.ones(shape, np.float32)})


def test_an_input_that_is_not_in_tiles_is_refused(library):
    source = model([node("SparseConv", ["x", *NAMES[1:]], "y", **GOOD)], {"x": SIZE}, TENSORS)
    with pytest.raises(Exception, match="X has"):
        session(library, source).run(None, {"x": np.ones(SIZE, np.float32)})


def test_a_residual_of_another_shape_is_refused(library):
    nodes = [
        node("ToTiles", ["x"], "t"),
        node("SparseConv", [*NAMES, "", "t"], "y", **GOOD),
    ]
    opened = session(library, model(nodes, {"x": SIZE}, TENSORS))
    with pytest.raises(Exception, match="residual has another shape than the output"):
        opened.run(None, {"x": np.ones(SIZE, np.float32)})


@pytest.mark.parametrize(
    ("operator", "inputs", "attributes", "rule"),
    [
        ("TilePool", ["t"], {"kind": "median"}, "kind must be max or average"),
        ("TileDepthwise", ["t", "w"], {"group": 4}, "in_channels and group must be"),
        ("TileDepthwise", ["t", "values"], {}, r"W must be \[channels, 1, kernel\]"),
        ("TileGlobalAverage", ["t"], {"input_size": []}, "input_size must have"),
        ("FromTiles", ["t"], {"spatial": [0]}, "spatial is out of range"),
        ("FromTiles", ["t"], {"spatial": [5, 5, 1]}, "spatial has more than two"),
        ("ToTiles", ["x"], {"channels_last": 2}, "channels_last must be 0 or 1"),
    ],
)
def test_other_operators_refuse_what_breaks_a_rule(library, operator, inputs, attributes, rule):
    more = window((3, 3), (5, 5), pads=[1, 1, 1, 1]) | attributes
    nodes = [node("ToTiles", ["x"], "t"), node(operator, inputs, "y", **more)]
    constants = {"w": np.ones((8, 1, 3, 3), np.float32), "values": TENSORS["values"]}
    with pytest.raises(Exception, match=f"wfpipe {operator}: {rule}"):
        session(library, model(nodes, {"x": SIZE}, constants))


@pytest.mark.parametrize("shape", [[3, 5], [5, 5, 2], [2**40, 2**40]])
def test_a_shape_that_the_tiles_do_not_have_is_refused(library, shape):
    nodes = [
        node("ToTiles", ["x"], "t", channels_last=1),
        node("FromTiles", ["t", "shape"], "y", channels_last=1),
    ]
    constants = {"shape": np.array([*shape, 8], np.int64)}
    opened = session(library, model(nodes, {"x": [5, 5, 8]}, constants))
    with pytest.raises(Exception, match=r"wfpipe FromTiles: (X has not|shape does not)"):
        opened.run(None, {"x": np.ones((5, 5, 8), np.float32)})
