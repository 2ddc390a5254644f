"""Sessions, their settings and providers, and files that cannot be opened."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.exporters.measuring.denormals import flushes, flushing
from wfpipe.exporters.measuring.inference import predict
from wfpipe.exporters.measuring.session import (
    PROVIDERS,
    SessionSettings,
    default_threads,
    open_session,
)
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.networks import damaged, write_linear
from wfpipe.tests.exporters.package_samples import result_or_line

CPU = SessionSettings("cpu", threads=1)
CUDA = SessionSettings("cuda", threads=1)
without_gpu = pytest.mark.skipif(
    Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists(), reason="there is a GPU here"
)


def test_settings_reach_the_session(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "model.onnx", np.eye(2, 3))
    for on in (True, False):
        settings = SessionSettings("cpu", threads=2, spinning=on, flush_denormals=on)
        session = open_session(path, settings)
        options = session.get_session_options()
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
        assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
        for key in ("session.intra_op.allow_spinning", "session.set_denormal_as_zero"):
            assert options.get_session_config_entry(key) == str(int(on))
        assert session.get_providers() == [PROVIDERS["cpu"]]


@pytest.mark.parametrize("on", [True, False])
def test_a_session_leaves_subnormal_numbers_of_this_thread_as_they_were(
    tmp_path: Path, on: bool
) -> None:
    path = write_linear(tmp_path / "model.onnx", np.full((1, 1), 0.5))
    before = flushes()
    session = open_session(path, SessionSettings("cpu", 1, flush_denormals=on))
    assert flushes() == before
    batch = np.full((1, 1), 1e-39, np.float32)
    with flushing(on):
        assert (predict(session, batch)[0, 0] == 0) == on
    assert flushes() == before


def test_default_threads_are_the_usable_cores() -> None:
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


def invalid_operator(path: Path) -> None:
    model = onnx.load(write_linear(path, np.eye(2, 3)))
    model.graph.node[0].op_type = "NoSuchOperator"
    path.write_bytes(model.SerializeToString())


def future_opset(path: Path) -> None:
    model = onnx.load(write_linear(path, np.eye(2, 3)))
    model.opset_import[0].version = 999
    path.write_bytes(model.SerializeToString())


def truncated(path: Path) -> None:
    content = write_linear(path, np.eye(20, 30)).read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.touch(), "empty or truncated"),
        (lambda path: path.mkdir(), "not an ONNX file"),
        (lambda path: path.write_text("not a model"), "not an ONNX file"),
        (truncated, "truncated"),
        (invalid_operator, "NoSuchOperator"),
        (future_opset, "999|opset"),
    ],
)
def test_file_that_cannot_be_run_is_refused_in_one_line(
    make: Any, cause: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    make(path)
    with pytest.raises(InputError, match=cause) as caught:
        open_session(path, CPU)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert "onnxruntime_src" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_file_is_opened_or_refused_and_nothing_else(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_linear(tmp_path_factory.mktemp("session") / "model.onnx", np.eye(2, 3))
    path.write_bytes(damaged(path.read_bytes(), data))
    result_or_line(lambda: open_session(path, CPU))


@without_gpu
def test_cuda_without_a_gpu_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_linear(tmp_path / "model.onnx", np.eye(2, 3))
    with pytest.raises(InputError, match=r"provider 'cuda' cannot be used: .*available here: cpu"):
        open_session(path, CUDA)
    assert capfd.readouterr() == ("", "")


def test_runtime_built_without_cuda_is_named_as_the_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: [PROVIDERS["cpu"]])
    path = write_linear(tmp_path / "model.onnx", np.eye(2, 3))
    with pytest.raises(InputError, match=r"built without it.*onnxruntime-gpu"):
        open_session(path, CUDA)


class PretendCuda:
    """A runtime with CUDA that places the given operators on the CPU."""

    def __init__(self, on_cpu: list[str]) -> None:
        self.on_cpu = on_cpu

    def __call__(self, path: str, options: Any, **arguments: Any) -> PretendCuda:
        try:
            options.get_session_config_entry("session.disable_cpu_ep_fallback")
        except RuntimeError:  # not set
            return self
        if self.on_cpu:
            raise RuntimeError("fallback to CPU EP has been explicitly disabled by the user.")
        return self

    def get_providers(self) -> list[str]:
        return [PROVIDERS["cuda"], PROVIDERS["cpu"]]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        nodes = [SimpleNamespace(op_type=operator) for operator in self.on_cpu]
        conv = [SimpleNamespace(op_type="Conv")]
        return [
            SimpleNamespace(ep_name=PROVIDERS["cuda"], get_nodes=lambda: conv),
            SimpleNamespace(ep_name=PROVIDERS["cpu"], get_nodes=lambda: nodes),
        ]


@pytest.mark.parametrize("on_cpu", [[], ["Shape", "Gather"]])
def test_cuda_session_may_leave_shape_arithmetic_to_the_cpu(
    on_cpu: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cuda(monkeypatch, on_cpu)
    assert open_session(tmp_path / "model.onnx", CUDA).get_providers()[0] == PROVIDERS["cuda"]


def test_cuda_session_that_computes_on_the_cpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_cuda(monkeypatch, ["Shape", "NonMaxSuppression", "Conv"])
    with pytest.raises(InputError, match="computes Conv, NonMaxSuppression on the CPU"):
        open_session(tmp_path / "model.onnx", CUDA)


def pretend_cuda(monkeypatch: pytest.MonkeyPatch, on_cpu: list[str]) -> None:
    monkeypatch.setattr(ort, "get_available_providers", lambda: PROVIDERS.values())
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", PretendCuda(on_cpu))


@without_gpu
def test_tensorrt_that_does_not_load_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_linear(tmp_path / "model.onnx", np.eye(2, 3))
    wanted = r"provider 'tensorrt' cannot be used: .*available here: cpu.*validate\.provider=cpu"
    with pytest.raises(InputError, match=wanted) as caught:
        open_session(path, SessionSettings("tensorrt", threads=1))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_tensorrt_may_use_sparse_kernels_and_keeps_engines_of_each_file_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Recorder(PretendCuda):
        def __call__(self, path: str, options: Any, **arguments: Any) -> PretendCuda:
            asked.append(arguments)
            return super().__call__(path, options, **arguments)

        def get_providers(self) -> list[str]:
            return [PROVIDERS["tensorrt"], PROVIDERS["cpu"]]

    monkeypatch.setattr(ort, "get_available_providers", lambda: PROVIDERS.values())
    monkeypatch.setattr(ort, "preload_dlls", lambda: None)
    monkeypatch.setattr(ort, "InferenceSession", Recorder([]))
    for folder in ("a", "b"):
        path = tmp_path / folder / "model.onnx"
        path.parent.mkdir()
        open_session(write_linear(path, np.eye(2, 3)), SessionSettings("tensorrt", threads=1))
    (first,), (second,) = (arguments["providers"] for arguments in asked)
    assert first[0] == second[0] == PROVIDERS["tensorrt"]
    assert first[1]["trt_sparsity_enable"] == "1"
    assert first[1]["trt_engine_cache_path"] != second[1]["trt_engine_cache_path"]
    assert all(arguments["enable_fallback"] == 0 for arguments in asked)
