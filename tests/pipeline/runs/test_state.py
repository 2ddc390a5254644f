from __future__ import annotations

import json
import pickle
from dataclasses import replace

import pytest
import torch

from wfpipe.pipeline.runs.state import State, check_state, digest_tensors, load_state
from wfpipe.support.errors import InputError


def make() -> State:
    return State(
        recipe_digest="abc",
        fingerprint={"test samples": 3},
        device="cpu",
        done=2,
        model={"w": torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)},
        masks={"w": torch.rand(2, 3, 4, 4) < 0.5},
        optimizer={"state": {0: {"momentum_buffer": torch.randn(3)}}, "param_groups": []},
        history=[{"event": "dense", "accuracy": 99.5}],
    )


def test_a_state_reads_back_as_it_was_written(tmp_path):
    state = make()
    state.save(tmp_path / "checkpoint.pt", tmp_path / "log.jsonl")
    loaded = load_state(tmp_path / "checkpoint.pt")
    assert (loaded.done, loaded.history, loaded.fingerprint) == (
        2,
        state.history,
        state.fingerprint,
    )
    assert torch.equal(loaded.model["w"], state.model["w"])
    assert torch.equal(loaded.masks["w"], state.masks["w"])
    assert json.loads((tmp_path / "log.jsonl").read_text()) == state.history[0]


def test_a_log_is_brought_up_to_its_state_and_left_alone_where_it_is(tmp_path):
    state, log = make(), tmp_path / "log.jsonl"
    state.history.append({"event": "epoch"})
    log.write_text(json.dumps(state.history[0]) + "\n")
    state.write_log(log)
    assert [json.loads(line) for line in log.read_text().splitlines()] == state.history
    before = log.stat().st_ino
    state.write_log(log)
    assert log.stat().st_ino == before


class Harmful:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize("kind", ["truncated", "text", "another dict", "code"])
def test_files_that_are_no_checkpoint_are_refused(tmp_path, kind, capsys):
    path = tmp_path / "checkpoint.pt"
    make().save(path, tmp_path / "log.jsonl")
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "text":
        path.write_text("hello")
    elif kind == "another dict":
        torch.save({"weights": 1}, path)
    else:
        path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError, match="cannot be read"):
        load_state(path)
    assert capsys.readouterr().out == ""


def test_the_digest_tells_values_shapes_types_and_names_apart():
    w = torch.arange(6.0)
    variants = [
        {"w": w},
        {"v": w},
        {"w": w.view(2, 3)},
        {"w": w.double()},
        {"w": w + 1},
    ]
    assert len({digest_tensors(variant) for variant in variants}) == len(variants)
    assert digest_tensors({"w": w.view(2, 3)}) == digest_tensors({"w": w.view(2, 3).clone()})


def test_the_digest_takes_scalars_and_channels_last_tensors():
    image = torch.randn(1, 2, 3, 3)
    tensors = {"n": torch.tensor(3), "w": image.contiguous(memory_format=torch.channels_last)}
    assert digest_tensors(tensors) == digest_tensors({"n": torch.tensor(3), "w": image})


@pytest.mark.parametrize(
    "change",
    [
        {"done": 9},
        {"done": -1},
        {"history": []},
        {"masks": {}},
        {"masks": {"w": torch.ones(2, 3, 4, 4)}},
        {"model": {}},
        {"optimizer": {}},
    ],
)
def test_a_state_of_another_network_or_timeline_is_refused(tmp_path, change):
    module = torch.nn.Module()
    module.w = torch.nn.Parameter(torch.zeros(2, 3, 4, 4))
    weights = {"w": module.w}
    good = replace(make(), history=[{}, {}, {}])
    check_state(good, tmp_path / "checkpoint.pt", module, weights, units=8)
    with pytest.raises(InputError, match="--overwrite"):
        check_state(replace(good, **change), tmp_path / "checkpoint.pt", module, weights, units=8)
