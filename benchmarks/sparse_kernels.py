"""What the sparse kernels take for each layer, beside ONNX Runtime's dense ones and the limit.

    python benchmarks/sparse_kernels.py resnet50 --sparsity 0.9     all convolutions but the first
    python benchmarks/sparse_kernels.py mobilenet_v1 --sparsity 0.8 pointwise and depthwise layers
    python benchmarks/sparse_kernels.py linear --sparsity 0.9       768 -> 3072 -> 768, 128 tokens

Float32, batch 1, weights pruned at random (values do not matter for time). Each layer is a model of
its own; the times are those that ONNX Runtime's profiler gives for the operator itself, dense and
sparse in alternation, the median of the runs. A Linear is timed with ToTiles and FromTiles around
it. The limit is the layer's products that are not zero, at the rate of ONNX Runtime's dense matrix
product of 1024 x 1024 x 1024. The figure is the dense time of all layers over the sparse one.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from wfpipe.exporters.runtime import compiler
from wfpipe.exporters.runtime.encoding import encode

DOMAIN = "wfpipe"
WARM = 3  # runs that are not counted


class Layer(NamedTuple):
    """Layers of one shape: channels in and out, kernel, stride, side of the input, how many."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int
    side: int
    times: int
    depthwise: bool = False

    @property
    def products(self) -> int:
        """Multiplications of one such layer, dense."""
        after = -(-self.side // self.stride)
        each = 1 if self.depthwise else self.inputs
        return self.outputs * each * self.kernel**2 * after**2


def resnet50() -> list[Layer]:
    """Return the convolutions of a ResNet-50 at 224 x 224 but the first, alike ones counted."""
    layers = []
    inputs = 64
    for stage, (width, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True)):
        side = 56 >> max(stage - 1, 0)
        stride = 1 if stage == 0 else 2
        after, out = side // stride, 4 * width
        layers += [
            Layer(f"{stage + 2}.1 reduce", inputs, width, 1, 1, side, 1),
            Layer(f"{stage + 2}.1 3x3", width, width, 3, stride, side, 1),
            Layer(f"{stage + 2}.1 shortcut", inputs, out, 1, stride, side, 1),
            Layer(f"{stage + 2} expand", width, out, 1, 1, after, blocks),
            Layer(f"{stage + 2} reduce", out, width, 1, 1, after, blocks - 1),
            Layer(f"{stage + 2} 3x3", width, width, 3, 1, after, blocks - 1),
        ]
        inputs = out
    return layers


def mobilenet_v1() -> list[Layer]:
    """Return the depthwise and pointwise layers of a MobileNetV1 at 224 x 224."""
    layers = []
    inputs, side = 32, 112
    plan = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
            (1024, 1)]  # fmt: skip
    for outputs, stride in plan:
        layers.append(Layer(f"{side} depthwise", inputs, inputs, 3, stride, side, 1, True))
        side //= stride
        layers.append(Layer(f"{side} pointwise", inputs, outputs, 1, 1, side, 1))
        inputs = outputs
    return [layer._replace(times=layers.count(layer)) for layer in dict.fromkeys(layers)]


def main() -> None:
    """Print a line per layer, the sums, and the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", choices=["resnet50", "mobilenet_v1", "linear"])
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--compiler", default="g++", help="command of a C++ compiler")
    parser.add_argument("--library", type=Path, help="compiled already")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = arguments.library or _compiled(Path(folder), arguments.compiler.split())
        loaded = ctypes.CDLL(str(library))
        loaded.wfpipe_kernels_path.restype = ctypes.c_char_p
        bench = Bench(library, Path(folder), arguments.threads, arguments.runs, arguments.sparsity)
        rate = bench.rate()
        print(
            f"path {loaded.wfpipe_kernels_path().decode()}, dense product {rate / 1e9:.1f} GMAC/s"
        )
        if arguments.network == "linear":
            rows = bench.linear()
        else:
            rows = bench.layers({"resnet50": resnet50, "mobilenet_v1": mobilenet_v1}[
                arguments.network]())  # fmt: skip
        dense, sparse = _table(rows, rate)
    print(f"figure: {dense / sparse:.2f}")


class Row(NamedTuple):
    """A layer's times in seconds, and how many products it has that are not zero."""

    name: str
    times: int
    dense: float
    sparse: float
    products: float


def _table(rows: Iterable[Row], rate: float) -> tuple[float, float]:
    """Print the rows; return the sums of dense and sparse seconds."""
    print(
        f"{'layer':<16} {'count':>5} {'dense ms':>9} {'sparse ms':>9} {'limit ms':>9} {'gain':>6}"
    )
    dense = sparse = limit = 0.0
    for row in rows:
        least = row.products / rate
        print(f"{row.name:<16} {row.times:5} {1e3 * row.dense:9.3f} {1e3 * row.sparse:9.3f} "
              f"{1e3 * least:9.3f} {row.dense / row.sparse:6.2f}")  # fmt: skip
        dense += row.times * row.dense
        sparse += row.times * row.sparse
        limit += row.times * least
    print(f"{'all':<16} {'':5} {1e3 * dense:9.2f} {1e3 * sparse:9.2f} {1e3 * limit:9.2f}")
    return dense, sparse


class Bench:
    """Sessions of single layers on a number of threads."""

    def __init__(
        self, library: Path, folder: Path, threads: int, runs: int, sparsity: float
    ) -> None:
        self.library, self.folder = library, folder
        self.threads, self.runs, self.sparsity = threads, runs, sparsity
        self.random = np.random.default_rng(0)

    def rate(self) -> float:
        """Return multiplications a second of a dense matrix product."""
        size = 1024
        weight = self.random.standard_normal((size, size), dtype=np.float32)
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        source = _model(nodes, [size, size], {"w": weight})
        times = self.times([source], weight, [{"MatMul"}])
        return float(size**3 / min(times[0]))

    def layers(self, layers: Sequence[Layer]) -> Iterable[Row]:
        """Time each layer, dense and sparse in alternation."""
        for layer in layers:
            shape = (layer.outputs, 1 if layer.depthwise else layer.inputs, *[layer.kernel] * 2)
            weight = self.random.standard_normal(shape, dtype=np.float32)
            kept = 1.0
            if not layer.depthwise:
                mask = self.random.random(shape) >= self.sparsity
                weight *= mask
                kept = float(mask.mean())
            x = self.random.standard_normal(
                (1, layer.inputs, layer.side, layer.side), dtype=np.float32
            )
            operator = "TileDepthwise" if layer.depthwise else "SparseConv"
            dense, sparse = self.times(
                [_dense(layer, weight), _sparse(layer, weight)], x, [{"Conv"}, {operator}]
            )
            yield Row(layer.name, layer.times, statistics.median(dense),
                      statistics.median(sparse), kept * layer.products)  # fmt: skip

    def linear(self) -> Iterable[Row]:
        """Time the two matrix products of a transformer's block, with the change of layout."""
        for inputs, outputs in ((768, 3072), (3072, 768)):
            weight = self.random.standard_normal((outputs, inputs), dtype=np.float32)
            weight *= self.random.random(weight.shape) >= self.sparsity
            x = self.random.standard_normal((1, 128, inputs), dtype=np.float32)
            nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
            dense = _model(nodes, x.shape, {"w": np.ascontiguousarray(weight.T)})
            tiles = {"ToTiles", "SparseConv", "FromTiles"}
            times = self.times([dense, _sparse_linear(weight)], x, [{"MatMul"}, tiles])
            medians = [statistics.median(each) for each in times]
            products = 128 * float(np.count_nonzero(weight))
            yield Row(f"{inputs} -> {outputs}", 1, medians[0], medians[1], products)

    def times(
        self, sources: Sequence[bytes], x: npt.NDArray[Any], operators: Sequence[set[str]]
    ) -> list[list[float]]:
        """Return, for each model, seconds that its operators of those names took in each run."""
        sessions = [self._session(source) for source in sources]
        for _ in range(WARM + self.runs):
            for session in sessions:
                session.run(None, {"x": x})
        return [
            _profiled(Path(session.end_profiling()), names)[WARM:]
            for session, names in zip(sessions, operators, strict=True)
        ]

    def _session(self, source: bytes) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(str(self.library))
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.enable_profiling = True
        options.profile_file_prefix = str(self.folder / "profile")
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _profiled(path: Path, names: set[str]) -> list[float]:
    """Return seconds that operators took in each run, read from a profile, which is removed."""
    events = json.loads(path.read_text())
    path.unlink()
    spent = [
        event["dur"] * 1e-6
        for event in events
        if event.get("cat") == "Node"
        and event["name"].endswith("_kernel_time")
        and event["args"]["op_name"] in names
    ]
    runs = sum(event["name"] == "model_run" for event in events)
    each = len(spent) // runs
    return [sum(spent[i * each : (i + 1) * each]) for i in range(runs)]


def _model(
    nodes: Sequence[onnx.NodeProto], shape: Sequence[int], constants: dict[str, npt.NDArray[Any]]
) -> bytes:
    """Return a model with one float32 input x and one output y."""
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(model.SerializeToString())


def _window(layer: Layer) -> dict[str, Any]:
    return {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "pads": [layer.kernel // 2] * 4,
        "group": layer.inputs if layer.depthwise else 1,
    }


def _dense(layer: Layer, weight: npt.NDArray[Any]) -> bytes:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"], **_window(layer)),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    return _model(nodes, (1, layer.inputs, layer.side, layer.side), {"w": weight})


def _sparse(layer: Layer, weight: npt.NDArray[Any]) -> bytes:
    attributes = {
        **_window(layer),
        "in_channels": layer.inputs,
        "input_size": [layer.side] * 2,
        "activation": "relu",
        "domain": DOMAIN,
    }
    nodes = [helper.make_node("ToTiles", ["x"], ["t"], domain=DOMAIN)]
    if layer.depthwise:
        constants = {"w": weight}
        nodes.append(helper.make_node("TileDepthwise", ["t", "w"], ["y"], **attributes))
    else:
        constants = encode(weight)._asdict()
        nodes.append(helper.make_node("SparseConv", ["t", *constants], ["y"], **attributes))
    return _model(nodes, (1, layer.inputs, layer.side, layer.side), constants)


def _sparse_linear(weight: npt.NDArray[Any]) -> bytes:
    constants = encode(weight)._asdict()
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("ToTiles", ["x"], ["t"], domain=DOMAIN, channels_last=1),
        helper.make_node("SparseConv", ["t", *constants], ["u"], domain=DOMAIN,
                         in_channels=weight.shape[1], kernel_shape=[1]),
        helper.make_node("FromTiles", ["u", "shape"], ["y"], domain=DOMAIN, channels_last=1),
    ]  # fmt: skip
    return _model(nodes, (1, 128, weight.shape[1]), constants)


def _compiled(folder: Path, command: Sequence[str]) -> Path:
    platform = compiler.this_platform()
    if platform is None:
        raise SystemExit("the kernels know no platform such as this")
    library = folder / compiler.PLATFORMS[platform].library
    compiler.compile_library(library, platform, command)
    return library


if __name__ == "__main__":
    main()
