"""The check of zeros: that it passes, and that it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from wfpipe.exporters.documents.report import LayerFigures
from wfpipe.exporters.documents.shares import file_sparsity
from wfpipe.exporters.onnx.batchnorm import batchnorm_scales
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.onnx.zeros import ZeroCount, check_zeros, layer_figures
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.networks import (
    Array,
    convolutional,
    prune_at_random,
    write_graph,
    write_linear,
)

TINY = float(np.finfo(np.float32).tiny)


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def check_linear(path: Path, stored: Array, keep: Array, weight: Array) -> ZeroCount:
    write_linear(path, stored)
    tensor = torch.from_numpy(weight.astype(np.float32))
    return check_zeros(path, {"fc.weight": torch.from_numpy(keep)}, {"fc.weight": tensor})


def test_zeros_of_an_exported_network_are_those_of_its_masks(tmp_path: Path) -> None:
    network = convolutional()
    masks = prune_at_random(network, 0.6)
    path = tmp_path / "model.onnx"
    export_onnx(network, torch.zeros(2, 3, 8, 8), path, opset=20, metadata={})
    count = check_zeros(path, masks, weights_of(network))
    kept = sum(int(mask.sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert count == ZeroCount(tensors=3, pruned=total - kept, kept=kept, dead=0)
    figures = {layer.name: layer for layer in layer_figures(path)}
    assert list(figures) == list(masks)
    for name, mask in masks.items():
        assert figures[name].shape == tuple(mask.shape)
        assert figures[name].sparsity == pytest.approx(1 - mask.float().mean().item())
    assert file_sparsity(figures.values()) == pytest.approx(1 - kept / total)


def test_changed_byte_in_the_file_is_found(tmp_path: Path) -> None:
    weight = np.array([[1.0, 0.0, 3.0], [0.0, 5.0, 6.0]], np.float32)
    masks = {"fc.weight": torch.from_numpy(weight != 0)}
    parameters = {"fc.weight": torch.from_numpy(weight)}
    path = write_linear(tmp_path / "model.onnx", weight)
    content = path.read_bytes()
    start = content.index(weight.tobytes())
    assert check_zeros(path, masks, parameters).pruned == 2
    for position, expected in [(1, "1 of 2 pruned weights are not zero, 0 of 4"), (4, None)]:
        last = start + 4 * position + 3
        flipped = content[:last] + bytes([content[last] ^ 0x40]) + content[last + 1 :]
        path.write_bytes(flipped)
        if expected is None:  # a kept weight that changes and stays a number is not this check's
            assert check_zeros(path, masks, parameters).kept == 4
        else:
            with pytest.raises(CheckFailed, match=rf"'fc\.weight'.*{expected}"):
                check_zeros(path, masks, parameters)
    path.write_bytes(content[: start + 8] + bytes(4) + content[start + 12 :])
    with pytest.raises(CheckFailed, match=r"0 of 2 pruned .* 1 of 4 kept weights are zero"):
        check_zeros(path, masks, parameters)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_check_passes_exactly_when_the_zeros_are_those_of_the_mask(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    number = st.sampled_from([0.0, 1e-40, TINY, 0.5, -2.0])
    weight, stored = (
        np.array(data.draw(st.lists(number, min_size=6, max_size=6)), np.float32).reshape(2, 3)
        for _ in range(2)
    )
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=6, max_size=6))).reshape(2, 3)
    alive = keep & (np.abs(weight) >= 0.5)
    wrong = (~keep & (stored != 0)) | (alive & (stored == 0))
    path = tmp_path_factory.mktemp("zeros") / "model.onnx"
    if wrong.any():
        with pytest.raises(CheckFailed):
            check_linear(path, stored, keep, weight)
    else:
        count = check_linear(path, stored, keep, weight)
        assert count.dead == int((keep & (stored == 0)).sum())
        assert (count.pruned, count.kept) == (int((~keep).sum()), int(keep.sum()))


def test_channel_is_dead_only_where_its_batch_norm_scale_is(tmp_path: Path) -> None:
    network = convolutional()
    masks = prune_at_random(network, 0.5)
    with torch.no_grad():
        network.get_parameter("1.weight")[2] = 0.0
        network.get_parameter("4.weight")[1] = 1e-38
    path = tmp_path / "model.onnx"
    example = torch.zeros(2, 3, 8, 8)
    export_onnx(network, example, path, opset=20, metadata={})
    parameters = weights_of(network)
    count = check_zeros(path, masks, parameters, batchnorm_scales(network, example))
    assert count.dead == int(masks["0.weight"][2].sum() + masks["3.weight"][1].sum())
    with pytest.raises(CheckFailed, match=r"'0\.weight'.*kept weights are zero"):
        check_zeros(path, masks, parameters)


class Tied(nn.Module):
    """Two layers with one weight, and two that hold the same zeros."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight
        self.third, self.fourth = nn.Linear(5, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.fourth(self.third(self.second(torch.relu(self.first(x))).relu()))
        return outputs


def test_weights_stored_under_another_name_are_found_by_content(tmp_path: Path) -> None:
    network = Tied()
    masks = prune_at_random(network, 0.4)
    for name in ("third.weight", "fourth.weight"):
        masks[name] = torch.zeros(5, 5, dtype=torch.bool)
        network.get_parameter(name).data.zero_()
    path = tmp_path / "model.onnx"
    export_onnx(network, torch.zeros(2, 5), path, opset=20, metadata={})
    assert len(layer_figures(path)) == 2
    count = check_zeros(path, masks, weights_of(network))
    assert (count.tensors, count.kept) == (3, int(masks["first.weight"].sum()))
    masks["first.weight"] = ~masks["first.weight"]
    with pytest.raises(CheckFailed):
        check_zeros(path, masks, weights_of(network))


class Square(nn.Module):
    """A square linear layer on (n, tokens, features): stored transposed, of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.mix(x).mean(1)
        return outputs


def test_square_weight_that_is_stored_transposed_is_compared_transposed(tmp_path: Path) -> None:
    network = Square()
    masks = prune_at_random(network, 0.5)
    assert not torch.equal(masks["mix.weight"], masks["mix.weight"].T)
    path = tmp_path / "model.onnx"
    export_onnx(network, torch.zeros(2, 3, 6), path, opset=20, metadata={})
    assert check_zeros(path, masks, weights_of(network)).dead == 0
    row, column = masks["mix.weight"].nonzero()[0]
    masks["mix.weight"][row, column] = False
    with pytest.raises(CheckFailed, match=r"mix\.weight"):
        check_zeros(path, masks, weights_of(network))


def test_weight_that_is_not_in_the_file_fails_the_check(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.eye(3, 4))
    masks = {"other.weight": torch.ones(3, 4, dtype=torch.bool)}
    with pytest.raises(
        CheckFailed, match=r"no tensor in model.onnx holds the weight 'other\.weight'"
    ):
        check_zeros(path, masks, {"other.weight": torch.ones(3, 4)})


def test_layers_are_found_behind_constants_transposes_and_branches(tmp_path: Path) -> None:
    dense = numpy_helper.from_array(np.array([[1, 0], [2, 3]], np.float32), "stored")
    branch = helper.make_graph(
        [
            helper.make_node("Constant", [], ["inner"], value=dense),
            helper.make_node("MatMul", ["x", "inner"], ["y"]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Transpose", ["fc"], ["turned"], perm=[1, 0]),
            helper.make_node("Gemm", ["x", "turned", "bias"], ["z"]),
            helper.make_node("If", ["flag"], ["out"], then_branch=branch, else_branch=branch),
        ],
        "graph",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [
            numpy_helper.from_array(np.zeros((3, 2), np.float32), "fc"),
            numpy_helper.from_array(np.zeros(3, np.float32), "bias"),
            numpy_helper.from_array(np.zeros((2, 2), np.float32), "unused"),
        ],
    )
    assert layer_figures(write_graph(tmp_path / "model.onnx", graph)) == [
        LayerFigures(name="fc", shape=(3, 2), sparsity=1.0, macs=6),
        LayerFigures(name="inner", shape=(2, 2), sparsity=0.25),
    ]


def test_sparsity_of_a_file_weighs_layers_by_their_size() -> None:
    layers = [
        LayerFigures(name="a", shape=(10, 10), sparsity=0.5),
        LayerFigures(name="b", shape=(5, 2, 30), sparsity=0.9),
    ]
    assert file_sparsity(layers) == (50 + 270) / 400
    assert file_sparsity(layers, gone=100) == (50 + 270 + 100) / 500
    assert file_sparsity([]) == 0.0


def test_tensor_whose_data_do_not_fit_its_shape_is_bad_input(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.ones((3, 4), np.float32))
    content = path.read_bytes()
    shape = bytes([0x08, 3, 0x08, 4])
    assert content.count(shape) == 1
    path.write_bytes(content.replace(shape, bytes([0x08, 9, 0x08, 4])))
    with pytest.raises(InputError, match=r"tensor 'fc\.weight' cannot be read: it holds 48 bytes"):
        layer_figures(path)
