from __future__ import annotations

from pathlib import Path

import pytest

from wfpipe.pipeline.tracking.tracker import begin

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_figures_recipe_and_report_are_in_the_event_files(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (tmp_path / "report.json").write_text('{"sparsity": 0.5}')
    tracker = begin("tensorboard", tmp_path, {"prune.sparsity": "0.5"})
    tracker.log({"loss": 2.5, "sparsity/conv": 0.25}, 0)
    tracker.log({"loss": 1.5}, 3)
    tracker.keep([tmp_path / "report.json"])
    tracker.close(failed=False)
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("loss")] == [(0, 2.5), (3, 1.5)]
    assert [event.value for event in read.Scalars("sparsity/conv")] == [0.25]
    texts = {
        tag: b"".join(read.Tensors(tag)[0].tensor_proto.string_val).decode()
        for tag in read.Tags()["tensors"]
    }
    assert "| prune.sparsity | 0.5 |" in texts["recipe/text_summary"]
    assert '{"sparsity": 0.5}' in texts["report.json/text_summary"]
