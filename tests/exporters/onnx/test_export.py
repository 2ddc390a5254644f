"""What an exported file holds, and models that cannot be exported."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from wfpipe import __version__
from wfpipe.exporters.onnx import export as onnx_file
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.exporters.onnx.parity import check_parity
from wfpipe.exporters.reading.onnx_graph import read_model
from wfpipe.support.errors import CheckFailed, InputError
from wfpipe.tests.exporters.networks import Array, convolutional, settled

REPOSITORY = Path(__file__).resolve().parents[3]


def export(module: nn.Module, path: Path, *shape: int, opset: int = 20) -> onnx.ModelProto:
    export_onnx(module, torch.zeros(2, *shape), path, opset=opset, metadata={})
    return read_model(path)


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def initializers(model: onnx.ModelProto) -> dict[str, Array]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


METADATA = {"wfpipe.sparsity": "0.9", "wfpipe.class_names": '["Ä", "b"]', "a": ""}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of ``convolutional()`` with ``METADATA``."""
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(convolutional(), torch.zeros(2, 3, 8, 8), path, opset=20, metadata=METADATA)
    return path


def test_exported_file_holds_no_trace_of_the_machine_and_the_source(exported: Path) -> None:
    content = exported.read_bytes()
    traces = [str(REPOSITORY), os.getcwd(), str(Path.home()), sys.prefix, str(exported.parent)]
    traces += ['File "', ".py", "site-packages", "torch.nn", "aten", "Sequential", "pytorch"]
    assert [trace for trace in traces if trace.encode() in content] == []


def test_exported_file_names_its_ports_its_producer_and_its_metadata(exported: Path) -> None:
    model = read_model(exported)
    shapes = [
        (value.name, [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim])
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [("input", ["batch", 3, 8, 8]), ("logits", ["batch", 5])]
    assert (model.producer_name, model.producer_version) == ("wfpipe", __version__)
    assert [(entry.key, entry.value) for entry in model.metadata_props] == sorted(METADATA.items())
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]


class EveryLayer(nn.Module):
    """A batch norm behind each kind of layer, for inputs (n, 4, 5, 5, 5)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.volume = nn.Sequential(nn.Conv3d(4, 6, 2, bias=False), nn.BatchNorm3d(6))
        self.plane = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
        self.without_bias = nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6))
        self.depthwise = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8))
        self.transposed = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6))
        self.line = nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6))
        self.linear = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6))

    def forward(self, x: Tensor) -> Tensor:
        plane, line = x[..., 0], x[..., 0, 0]
        planes = (self.plane, self.without_bias, self.depthwise, self.transposed)
        outputs = [self.volume(x), self.line(line), *(layer(plane) for layer in planes)]
        pooled = [output.flatten(2).mean(2) for output in outputs]
        return torch.cat([*pooled, self.linear(line[..., 0])], dim=1)


def test_batch_norms_are_folded_into_the_layers_before_them(tmp_path: Path) -> None:
    network = settled(EveryLayer())
    path = tmp_path / "model.onnx"
    model = export(network, path, 4, 5, 5, 5)
    assert "BatchNormalization" not in operators(model)
    stored = {name: array.shape for name, array in initializers(model).items()}
    weights = {name: p.shape for name, p in network.named_parameters() if p.dim() > 1}
    assert len(weights) == 7
    assert {name: stored[name] for name in weights} == weights
    samples = torch.randn(8, 4, 5, 5, 5, generator=torch.Generator().manual_seed(0))
    assert check_parity(path, network, samples, tolerance=1e-5).relative <= 1e-5


class SharedConvolution(nn.Module):
    """One convolution with two batch norms: neither can be folded into its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.second(self.conv(self.first(self.conv(x)))).mean((2, 3))
        return outputs


def test_one_channel_is_exported_like_several_also_in_channels_last(tmp_path: Path) -> None:
    def network(channels: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(4, 2)
        )

    batch = torch.zeros(2, 8, 8, 1).permute(0, 3, 1, 2)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    path = tmp_path / "one.onnx"
    module = network(1)
    for parameter in module.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    export_onnx(module, batch, path, opset=20, metadata={})
    several = export(network(3), tmp_path / "several.onnx", 3, 8, 8)
    assert operators(read_model(path)) == operators(several)
    assert "Gather" not in operators(several)


def test_batch_norm_stays_where_the_weight_is_shared(tmp_path: Path) -> None:
    network = settled(SharedConvolution())
    path = tmp_path / "model.onnx"
    model = export(network, path, 3, 4, 4)
    assert operators(model).count("BatchNormalization") == 2
    samples = torch.randn(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert check_parity(path, network, samples, tolerance=1e-5).relative <= 1e-5


def test_module_is_left_as_it_was(tmp_path: Path) -> None:
    network = convolutional().train()
    weight = network.get_parameter("0.weight")
    weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    before = copy.deepcopy(network.state_dict())
    export(network, tmp_path / "model.onnx", 3, 8, 8)
    assert all(layer.training for layer in network.modules())
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_subnormals_and_negative_zeros_become_zero(tmp_path: Path) -> None:
    network = nn.Linear(4, 2, bias=False)
    tiny = float(np.finfo(np.float32).tiny)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1e-40, -1e-44, -0.0, tiny], [0.0, -tiny, 1.0, -2.0]]))
    stored = initializers(export(network, tmp_path / "model.onnx", 4))["weight"]
    expected = np.array([[0, 0, 0, tiny], [0, -tiny, 1, -2]], np.float32)
    np.testing.assert_array_equal(stored, expected)
    np.testing.assert_array_equal(np.signbit(stored), np.signbit(expected))


class Tokens(nn.Module):
    """Linear layers on (n, tokens, features), which become MatMul nodes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.head(torch.relu(self.mix(x))).mean(1)
        return outputs


def test_transposed_weights_keep_the_names_of_their_parameters(tmp_path: Path) -> None:
    network = Tokens()
    stored = initializers(export(network, tmp_path / "model.onnx", 7, 5))
    np.testing.assert_array_equal(stored["mix.weight"], network.mix.weight.detach().numpy().T)
    np.testing.assert_array_equal(stored["head.weight"], network.head.weight.detach().numpy().T)


SCRIPT = """
import json, sys, torch
from pathlib import Path
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.tests.exporters.networks import convolutional
path, metadata = Path(sys.argv[1]), json.loads(sys.argv[2])
export_onnx(convolutional(), torch.zeros(3, 3, 8, 8), path, opset=20, metadata=metadata)
"""


def test_exports_of_the_same_module_are_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    reordered = dict(reversed(METADATA.items()))
    again, elsewhere = tmp_path / "again.onnx", tmp_path / "elsewhere.onnx"
    network = convolutional().train()
    export_onnx(network, torch.ones(2, 3, 8, 8), again, opset=20, metadata=reordered)
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(elsewhere), json.dumps(reordered)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert again.read_bytes() == exported.read_bytes()
    assert elsewhere.read_bytes() == exported.read_bytes()


def test_export_shows_nothing_and_warns_of_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export(convolutional(), tmp_path / "model.onnx", 3, 8, 8)
        with pytest.raises(InputError):
            export(Branching(), tmp_path / "model.onnx", 5)
    assert caught == []
    assert capfd.readouterr() == ("", "")


class Head(nn.Module):
    """A linear layer; its subclasses do what cannot be exported with what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Any:
        return self.finish(x, self.head(x))

    def finish(self, x: Tensor, y: Tensor) -> Any:
        return y


class Branching(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        return y if x.sum() > 0 else -y


class FixedBatch(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        return y + torch.ones(2, 1)


class WithoutOnnxForm(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        return torch.special.bessel_j0(y)


class Broken(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        raise ValueError("no such\nluck")


class Several(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        return y, {"first": y.argmax(1), "cube": y[:, None, None]}


class Whole(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        return y.sum()


class Nothing(Head):
    def finish(self, x: Tensor, y: Tensor) -> Any:
        return "nothing"


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (Branching, r"the values of its input \(test_export\.py, line \d+: .* if x\.sum"),
        (FixedBatch, "works at one batch size only"),
        (WithoutOnnxForm, r"prims\.bessel_j0 has no ONNX form"),
        (Broken, r"fails on an input of shape \(2, 5\): ValueError: no such"),
        (Whole, r"a row for each sample: for 2 samples the output has the shape \(\)"),
        (Nothing, "must return tensors"),
    ],
)
def test_model_that_cannot_be_exported_is_refused_in_one_line(
    make: Callable[[], nn.Module], cause: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        export(make(), tmp_path / "model.onnx", 5)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


class Reader(nn.GRU):
    def __init__(self) -> None:
        super().__init__(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


def test_a_length_that_is_counted_on_is_to_be_left_out_of_the_free_sizes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"recurrent layers run over: leave it out of export\.dyn"):
        export_onnx(
            Reader(), torch.zeros(2, 5, 3), tmp_path / "model.onnx", opset=20, metadata={},
            dynamic=["batch", "sequence"],
        )  # fmt: skip


def test_every_output_is_in_the_file_and_like_pytorch(tmp_path: Path) -> None:
    path, network, samples = tmp_path / "model.onnx", Several(), torch.randn(70, 5)
    export(network, path, 5)
    names = [value.name for value in onnx.load(path).graph.output]
    assert names == ["output_0", "output_1.first", "output_1.cube"]
    assert check_parity(path, network, samples, tolerance=1e-4).samples == 70
    nn.init.ones_(network.head.weight)
    with pytest.raises(CheckFailed, match=r"output 'output_\d.* differs from PyTorch"):
        check_parity(path, network, samples, tolerance=1e-4)


def test_opset_that_the_exporter_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.opset 99 is not supported"):
        export(Head(), tmp_path / "model.onnx", 5, opset=99)


def test_model_over_the_size_of_one_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "SIZE_LIMIT", 100)
    with pytest.raises(InputError, match=r"takes \d+ bytes: one ONNX file holds at most 100"):
        export(nn.Linear(5, 6), tmp_path / "model.onnx", 5)
    assert list(tmp_path.iterdir()) == []


def test_example_of_one_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 samples, got 1"):
        export_onnx(Head(), torch.zeros(1, 5), tmp_path / "m.onnx", opset=20, metadata={})
