from __future__ import annotations

import json
from pathlib import Path

import pytest

from wfpipe.exporters.documents.profile import Profile
from wfpipe.exporters.documents.report import Latency
from wfpipe.exporters.judging.baseline import Candidate, Planned, Tolerances
from wfpipe.exporters.judging.gates import describe
from wfpipe.exporters.judging.profile_baseline import ProfileBaseline
from wfpipe.exporters.judging.read_baseline import read_baseline
from wfpipe.exporters.measuring.environment import this_machine
from wfpipe.exporters.measuring.session import Provider, SessionSettings
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import make_report, model_figures
from wfpipe.tests.exporters.profile_samples import make_profile

TOLERANCES = Tolerances(accuracy_drop=0.5, latency_increase=0.1, size_increase=0.05)


def saved(folder: Path, profile: Profile) -> Path:
    path = folder / "profile.json"
    path.write_text(json.dumps(profile.to_json()))
    return path


def planned(threads: int = 2, batch: int = 1, provider: Provider = "cpu") -> Planned:
    return Planned(360, "b" * 64, [], True, SessionSettings(provider, threads), batch)


@pytest.fixture
def baseline(tmp_path: Path) -> ProfileBaseline:
    read = read_baseline(saved(tmp_path, make_profile(this_machine())))
    assert isinstance(read, ProfileBaseline)
    read.check(planned())
    return read


@pytest.mark.parametrize(
    ("p50", "passed", "line"),
    [
        (2.2, True, "got 10.00 % (p50 was 2.000 ms, is 2.200 ms) (measured on"),
        (3.0, False, "wanted at most 10.00 %, got 50.00 % (p50 was 2.000 ms, is 3.000 ms)"),
    ],
)
def test_the_median_in_milliseconds_is_compared_and_the_machine_is_named(
    baseline: ProfileBaseline, p50: float, passed: bool, line: str
) -> None:
    latency = Latency(p50=p50, p90=p50, throughput=1000 / p50, runs=200)
    figures = model_figures(latency_ms={"1": latency})
    (gate,) = baseline.gates(Candidate(planned(), figures, {}), TOLERANCES)
    assert (gate.name, gate.passed) == ("baseline_p50_increase", passed)
    assert line in describe(gate, make_report().environment)


def test_no_tolerance_is_no_gate(baseline: ProfileBaseline) -> None:
    none = Tolerances(accuracy_drop=0.5, latency_increase=None, size_increase=0.05)
    assert baseline.gates(Candidate(planned(), model_figures(), {}), none) == []


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (planned(threads=1), "no figures for 1 thread, batch 1"),
        (planned(batch=8), "no figures for 2 threads, batch 8"),
        (planned(provider="cuda"), "measured with the provider 'cuda': set validate.provider=cpu"),
    ],
)
def test_what_the_profile_does_not_have_is_refused(
    baseline: ProfileBaseline, other: Planned, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        baseline.check(other)


def test_a_profile_of_another_machine_is_refused(tmp_path: Path) -> None:
    other = this_machine().model_copy(update={"processor": "another"})
    with pytest.raises(InputError, match="times of two machines cannot be compared"):
        read_baseline(saved(tmp_path, make_profile(other))).check(planned())
