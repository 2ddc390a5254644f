"""Latency at the lengths of a sequence that a recipe names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wfpipe.exporters.measuring import latency
from wfpipe.exporters.measuring.lengths import check_length, of_length
from wfpipe.exporters.measuring.session import SessionSettings, open_session
from wfpipe.exporters.measuring.validation import validate_files
from wfpipe.exporters.onnx.export import export_onnx
from wfpipe.support.errors import InputError
from wfpipe.support.progress import Silent

CPU = SessionSettings("cpu", threads=1)


class Words(nn.Module):
    """Takes words with positions for 32 at most, and numbers that have no sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.place = nn.Embedding(5, 4), nn.Parameter(torch.zeros(32, 4))

    def forward(self, words: Tensor, numbers: Tensor) -> Tensor:
        place = nn.functional.embedding(torch.arange(words.shape[1]), self.place)
        return (self.words(words) + place).mean(1) + numbers[:, None]


def written(path: Path, dynamic: list[str]) -> Path:
    words = {"words": torch.ones(2, 6, dtype=torch.int64), "numbers": torch.ones(2)}
    export_onnx(Words().eval(), words, path, metadata={}, opset=20, dynamic=dynamic)
    return path


def test_latency_is_measured_at_each_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latency, "WARM_UP_SECONDS", 0.0)
    file = written(tmp_path / "model.onnx", ["sequence"])
    samples = {"words": np.arange(18).reshape(3, 6) % 5, "numbers": np.ones(3, np.float32)}
    at = of_length(open_session(file, CPU), samples, 8)
    assert np.array_equal(at["words"], samples["words"][:, [0, 1, 2, 3, 4, 5, 0, 1]])
    assert at["numbers"].shape == (3,)
    assert of_length(open_session(file, CPU), samples, 2)["words"].shape == (3, 2)
    measured = validate_files(
        file, file, batches=lambda: [(samples, np.zeros(3, int))], test_samples=3, samples=samples,
        settings=CPU, batch_sizes=[1, 2], runs=4, seed=0, reporter=Silent(), lengths=[3, 16],
    )  # fmt: skip
    for figures in (measured.dense, measured.pruned):
        assert list(figures.latency_by_length) == ["3", "16"]
        assert all(found.p50 > 0 for found in figures.latency_by_length.values())


def test_lengths_that_do_not_work_are_refused(tmp_path: Path):
    samples = {"words": np.zeros((1, 6), np.int64), "numbers": np.ones(1, np.float32)}
    free = open_session(written(tmp_path / "free.onnx", ["sequence"]), CPU)
    with pytest.raises(InputError, match=r"validate.lengths: 40 does not work: "):
        check_length(free, samples, 40)
    fixed = open_session(written(tmp_path / "fixed.onnx", []), CPU)
    with pytest.raises(InputError, match=r"export it with export\.dynamic=sequence"):
        check_length(fixed, samples, 3)
