"""Every operator on tiles against float64, through sessions of ONNX Runtime."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from wfpipe.exporters.runtime import compiler
from wfpipe.exporters.runtime.encoding import encode
from wfpipe.tests.cli.program import environment, server
from wfpipe.tests.exporters.runtime import cases
from wfpipe.tests.exporters.runtime.library import kernels, wide_kernels
from wfpipe.tests.exporters.runtime.tile_models import (
    ACTIVATIONS,
    difference,
    model,
    node,
    pruned,
    session,
    window,
)

GIVEN = os.environ.get("WFPIPE_TEST_LIBRARY")  # one that was built with sanitizers


@pytest.fixture(scope="session")
def library():
    return Path(GIVEN) if GIVEN else kernels()


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request):
    return request.param


@pytest.mark.parametrize("case", cases.CONVOLUTIONS)
def test_sparse_convolution_equals_float64(library, threads, case):
    assert cases.convolve(library, threads=threads, **cases.CONVOLUTIONS[case]) < cases.TOLERANCE


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", [(1, 24, 6, 6), (2, 24, 1, 1)], ids=["tile", "one position"])
def test_each_activation_equals_float64(library, activation, shape):
    more = {"rows": 40, "residual": True, "activation": activation}
    assert cases.convolve(library, threads=1, shape=shape, **more) < cases.TOLERANCE


@pytest.mark.parametrize("case", cases.DEPTHWISE)
def test_depthwise_convolution_equals_float64(library, threads, case):
    got = cases.filter_channels(library, threads=threads, **cases.DEPTHWISE[case])
    assert got < cases.TOLERANCE


@pytest.mark.parametrize("case", cases.POOLS)
def test_pooling_equals_float64(library, threads, case):
    assert cases.pool(library, threads=threads, **cases.POOLS[case]) < cases.TOLERANCE


@pytest.mark.parametrize("case", cases.AVERAGES)
def test_global_average_equals_float64(library, threads, case):
    got = cases.average_of_all(library, threads=threads, shape=cases.AVERAGES[case])
    assert got < cases.TOLERANCE


@pytest.mark.parametrize("shape", [(1, 3), (2, 5, 17), (2, 5, 9, 30), (1, 1, 1, 1), (0, 4, 3, 3)])
def test_tiles_are_undone_channels_first(library, shape):
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    nodes = [
        node("ToTiles", ["x"], "t"),
        node("FromTiles", ["t"], "y", spatial=list(shape[2:])),
    ]
    np.testing.assert_array_equal(
        session(library, model(nodes, {"x": shape}, {})).run(None, {"x": x})[0], x
    )


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 5, 17), (2, 33, 4, 9), (128, 40), (2, 0, 3)])
def test_tiles_are_undone_channels_last(library, shape):
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        node("ToTiles", ["x"], "t", channels_last=1),
        node("FromTiles", ["t", "shape"], "y", channels_last=1),
    ]
    dims = [f"d{i}" for i in range(len(shape) - 1)] + [shape[-1]]
    np.testing.assert_array_equal(
        session(library, model(nodes, {"x": dims}, {})).run(None, {"x": x})[0], x
    )


@pytest.mark.parametrize("tokens", [1, 2, 7, 64, 77, 128, 300])
def test_a_linear_layer_takes_any_number_of_tokens(library, threads, tokens):
    generator = np.random.default_rng(tokens)
    weight = pruned(generator, (200, 96), 0.1)
    bias = generator.standard_normal(200, dtype=np.float32)
    x = generator.standard_normal((1, tokens, 96), dtype=np.float32)
    constants = encode(weight)._asdict() | {"b": bias}
    attributes = window((1,), ()) | {"input_size": []}
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        node("ToTiles", ["x"], "t", channels_last=1),
        node("SparseConv", ["t", "values", "gaps", "rows", "b"], "u", in_channels=96,
             **attributes),
        node("FromTiles", ["u", "shape"], "y", channels_last=1),
    ]  # fmt: skip
    source = model(nodes, {"x": [1, "tokens", 96]}, constants)
    got = session(library, source, threads).run(None, {"x": x})[0]
    assert difference(got, x.astype(np.float64) @ weight.T + bias) < cases.TOLERANCE


def test_runs_at_the_same_time_agree(library):
    generator = np.random.default_rng(0)
    weight = pruned(generator, (64, 64, 3, 3), 0.1)
    constants = encode(weight)._asdict()
    attributes = window((3, 3), (20, 20), pads=[1, 1, 1, 1])
    nodes = [
        node("ToTiles", ["x"], "t"),
        node("SparseConv", ["t", "values", "gaps", "rows"], "u", in_channels=64, **attributes),
        node("FromTiles", ["u"], "y", spatial=[20, 20]),
    ]
    opened = session(library, model(nodes, {"x": [1, 64, 20, 20]}, constants), threads=2)
    images = generator.standard_normal((8, 1, 64, 20, 20), dtype=np.float32)
    wanted = [opened.run(None, {"x": image})[0] for image in images]
    got: list[list[np.ndarray]] = [[] for _ in images]

    def run(i: int) -> None:
        for _ in range(20):
            got[i].append(opened.run(None, {"x": images[i]})[0])

    workers = [threading.Thread(target=run, args=(i,)) for i in range(len(images))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result, expected in zip(got, wanted, strict=True):
        assert len(result) == 20
        assert all(np.array_equal(each, expected) for each in result)


@pytest.mark.parametrize("name", ["baseline", "avx2", "avx512", "wide", "neon", "none such"])
def test_every_path_gets_every_case_right(library, name):
    here = compiler.this_platform()
    assert here is not None
    known = {path.name for path in compiler.PLATFORMS[here].paths} | {"wide"}
    if name == "wide" and not GIVEN:
        library = wide_kernels() or library
    done = server().run(
        [str(library)],
        Path.cwd(),
        environment() | {"WFPIPE_KERNELS": name},
        entry="wfpipe.tests.exporters.runtime.cases:main",
    )
    assert done.returncode == 0, done.stderr
    ran = done.stdout.strip()
    if ran != name:
        best = _path(library)
        print(f"{name} is no path of this processor: {ran} ran")
        assert ran == best
        assert name not in known - {"avx512"} or name in {"avx2", "wide"}


def _path(library: Path) -> str:
    loaded = ctypes.CDLL(str(library))
    loaded.wfpipe_kernels_path.restype = ctypes.c_char_p
    return str(loaded.wfpipe_kernels_path().decode())


def test_the_library_shows_nothing_but_its_entry_points(library):
    loaded = ctypes.CDLL(str(library))
    for name in ("RegisterCustomOps", "wfpipe_kernels_path", "wfpipe_kernels_version"):
        assert hasattr(loaded, name)
    for name in ("_ZSt4cout", "_ZN6wfpipe4pathEv", "__cxa_throw_bad_array_new_length"):
        assert not hasattr(loaded, name)
