from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.runtime import units
from wfpipe.exporters.runtime.operators import Activation, Window
from wfpipe.exporters.runtime.units import find_units, taken_outside

RANDOM = np.random.default_rng(0)
node = helper.make_node


def network(nodes, tensors, shape=("batch", 4, 6, 6), output="y"):
    """A model of these nodes; tensors are shapes of random constants, or their values."""
    constants = [
        numpy_helper.from_array(
            value
            if isinstance(value, np.ndarray)
            else RANDOM.normal(size=value).astype(np.float32),
            name,
        )
        for name, value in tensors.items()
    ]
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def conv(source, weight, output, **attributes):
    return node("Conv", [source, weight], [output], name=output, kernel_shape=[3, 3],
                pads=[1, 1, 1, 1], **attributes)  # fmt: skip


def test_bias_sum_and_activation_belong_to_the_layer_before_them():
    model = network(
        [conv("x", "a.weight", "a"), node("Relu", ["a"], ["b"]),
         conv("b", "c.weight", "c"), node("Add", ["c", "x"], ["d"]), node("Relu", ["d"], ["y"])],
        {"a.weight": (4, 4, 3, 3), "c.weight": (4, 4, 3, 3)},
    )  # fmt: skip
    first, second = find_units(model)
    assert (first.name, first.places, first.output) == ("a.weight", (0, 1), "b")
    assert (second.residual, second.places, second.output) == ("x", (2, 3, 4), "y")
    assert second.activation == Activation("relu")
    assert second.window == Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (6, 6))


def test_of_two_layers_whose_outputs_are_added_the_later_takes_the_sum():
    model = network(
        [conv("x", "a.weight", "a"), conv("x", "b.weight", "b"), node("Add", ["a", "b"], ["y"])],
        {"a.weight": (4, 4, 3, 3), "b.weight": (4, 4, 3, 3)},
    )
    first, second = find_units(model)
    assert first.residual == ""
    assert second.residual == "a"


def test_a_value_that_somebody_else_takes_ends_a_unit():
    model = network(
        [conv("x", "a.weight", "a"), node("Relu", ["a"], ["b"]), node("Exp", ["a"], ["c"]),
         node("Add", ["b", "c"], ["y"])],
        {"a.weight": (4, 4, 3, 3)},
    )  # fmt: skip
    (unit,) = find_units(model)
    assert unit.output == "a"
    assert taken_outside(model, [unit]) == {"a", "b", "c", "y"}


def test_a_sum_that_stretches_one_side_stays_outside():
    model = network(
        [conv("x", "a.weight", "a"), node("GlobalAveragePool", ["x"], ["m"]),
         node("Add", ["a", "m"], ["y"])],
        {"a.weight": (4, 4, 3, 3)},
    )  # fmt: skip
    unit = next(unit for unit in find_units(model) if unit.kind == "conv")
    assert unit.residual == ""


@pytest.mark.parametrize(
    ("nodes", "tensors", "wanted"),
    [
        ([node("Relu", ["a"], ["y"])], {}, Activation("relu")),
        ([node("HardSwish", ["a"], ["y"])], {}, Activation("hardswish")),
        ([node("LeakyRelu", ["a"], ["y"], alpha=0.25)], {}, Activation("leakyrelu", 0.25)),
        ([node("Gelu", ["a"], ["y"])], {}, Activation("gelu")),
        ([node("Gelu", ["a"], ["y"], approximate="tanh")], {}, Activation()),
        ([node("HardSigmoid", ["a"], ["y"], alpha=1 / 6, beta=0.5)], {}, Activation("hardsigmoid")),
        ([node("HardSigmoid", ["a"], ["y"])], {}, Activation()),
        ([node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["y"])], {}, Activation("silu")),
        (
            [node("Clip", ["a", "low", "high"], ["y"])],
            {"low": np.float32(0), "high": np.float32(6)},
            Activation("clip", 0, 6),
        ),
    ],
)
def test_activations_are_known_by_what_they_compute(nodes, tensors, wanted):
    arrays = {name: np.asarray(value) for name, value in tensors.items()}
    model = network([conv("x", "a.weight", "a"), *nodes], {"a.weight": (4, 4, 3, 3), **arrays})
    (unit,) = find_units(model)
    assert unit.activation == wanted


def test_linear_layers_say_how_their_weight_lies():
    model = network(
        [node("MatMul", ["x", "up"], ["a"]), node("Add", ["a", "up.bias"], ["b"]),
         node("Gemm", ["b", "down", "down.bias"], ["y"], transB=1)],
        {"up": (8, 16), "up.bias": (16,), "down": (3, 16), "down.bias": (1, 3)},
        shape=("batch", 8),
    )  # fmt: skip
    up, down = find_units(model)
    assert (up.kind, up.transposed, up.bias, up.family) == ("linear", True, "up.bias", "tokens")
    assert (down.transposed, down.bias) == (False, "down.bias")


@pytest.mark.parametrize(
    "attributes",
    [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}],
)
def test_a_gemm_that_does_more_than_a_linear_layer_is_left(attributes):
    model = network(
        [node("Gemm", ["x", "w", "b"], ["y"], **attributes)],
        {"w": (8, 3), "b": (3,)},
        shape=(8, 8),
    )
    assert find_units(model) == []


def test_depthwise_convolutions_poolings_and_averages_are_companions():
    model = network(
        [conv("x", "a.weight", "a", group=4),
         node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
         node("ReduceMean", ["p", "axes"], ["y"], keepdims=0)],
        {"a.weight": (4, 1, 3, 3), "axes": np.array([2, 3])},
    )  # fmt: skip
    depthwise, pool, average = find_units(model)
    assert (depthwise.kind, pool.kind, average.kind) == ("depthwise", "pool", "average")
    assert pool.maximum
    assert average.flat
    assert average.window.size == (3, 3)


def test_an_image_whose_size_is_free_has_no_units():
    model = network(
        [conv("x", "a.weight", "y")], {"a.weight": (4, 4, 3, 3)},
        shape=("batch", 4, "height", "width"),
    )  # fmt: skip
    assert find_units(model) == []


@pytest.mark.parametrize("limit", ["MAX_COLUMNS", "MAX_POSITIONS"])
def test_layers_beyond_the_limits_of_the_kernels_are_left_alone(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network([conv("x", "a.weight", "y")], {"a.weight": (4, 4, 3, 3)})
    monkeypatch.setattr(units, limit, 36)  # columns as positions
    assert len(find_units(model)) == 1
    monkeypatch.setattr(units, limit, 35)
    assert find_units(model) == []
