from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wfpipe.pipeline.pruning.choice.widths import Rules
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.stages.channel_times import channel_times_stage, times_of_entries
from wfpipe.pipeline.steps.channels.channels import Channels
from wfpipe.pipeline.steps.setup import Setup
from wfpipe.support.errors import InputError
from wfpipe.tests.reference.groups import small_groups


def job(plan: dict[str, Any] | None, **prune: Any) -> Any:
    channels = Channels(small_groups(), Rules({"a": 3.0, "b": 1.0}), 10.0)
    method: Any = None
    return SimpleNamespace(
        setup=Setup(method, {}, None, channels=channels),
        recipe=resolve({"prune": {"pattern": "channel", **prune}}),
        state=SimpleNamespace(plan=plan, done=1),
        directory=SimpleNamespace(checkpoint=Path("checkpoint.pt")),
    )


def test_a_run_that_is_continued_takes_the_times_that_it_began_with():
    found = job({"ms": {"a": 0.5, "b": 0.25}}, channel_cost="ms")
    channel_times_stage(found)
    assert found.setup.channels.rules.prices == {"a": 0.5, "b": 0.25}
    assert found.setup.channels.rules.costs == {"a": 3.0, "b": 1.0}


@pytest.mark.parametrize(
    "plan", [None, {"ms": {"a": 0.5}}, {"ms": {"a": 0.5, "b": "c"}}, {"target": 2}]
)
def test_times_that_are_not_those_of_the_layers_are_refused(plan):
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        channel_times_stage(job(plan, channel_cost="ms"))


def test_nothing_is_timed_where_losses_are_divided_by_something_else():
    found = job(None, channel_cost="weights")
    channel_times_stage(found)
    assert found.setup.channels.rules.prices is None


def test_layers_that_are_not_timed_take_what_the_others_do_for_a_mac():
    sizes, uses = {"a": 10, "b": 4, "c": 2}, {"a": 2.0, "b": 5.0, "c": 3.0}
    assert times_of_entries({"a": 3.0, "b": 1.0}, sizes, uses) == pytest.approx(
        {"a": 0.3, "b": 0.25, "c": 0.3}
    )
    assert times_of_entries({}, sizes, uses) == uses
