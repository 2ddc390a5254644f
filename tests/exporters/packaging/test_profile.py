from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wfpipe.exporters.documents.profile import Profile, read_profile
from wfpipe.exporters.judging.profile_change import check_comparable, compare
from wfpipe.exporters.measuring.environment import this_machine
from wfpipe.exporters.packaging.profile import profile_package
from wfpipe.exporters.packaging.verify import CheckedPackage, checked_package
from wfpipe.exporters.reporting.profile_table import profile_table
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import linear_model, make_package


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CheckedPackage]:
    with checked_package(make_package(tmp_path_factory.mktemp("package"))) as checked:
        yield checked


@pytest.fixture(scope="module")
def profile(package: CheckedPackage) -> Profile:
    return profile_package(package, threads=[1], batch_sizes=[1, 3], runs=40)


def test_a_profile_holds_times_that_belong_together(profile: Profile) -> None:
    (measured,) = profile.measured
    cold = measured.cold_start_ms
    assert cold.low <= cold.median <= cold.high
    assert cold.load + cold.first_run < cold.high
    assert list(measured.latency_ms) == ["1", "3"]
    for latency in measured.latency_ms.values():
        assert latency.p50_low <= latency.p50 <= latency.p50_high
        assert latency.p50 <= latency.p90
        assert (latency.runs, latency.sittings) == (40, 20)
    assert measured.memory_bytes is None or measured.memory_bytes > 0
    assert profile.machine == this_machine()


def test_it_names_the_model_that_was_measured(package: CheckedPackage, profile: Profile) -> None:
    manifest = package.result.manifest
    assert profile.model_sha256 == manifest.files["model.onnx"].sha256
    assert profile.variant == "plain"


def test_it_is_read_as_it_was_written(profile: Profile, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(profile.to_json()))
    assert read_profile(tmp_path / "a.json") == profile
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match=r"--baseline .* must have the schema 'wfpipe-profile/1'"):
        read_profile(tmp_path / "a.json")


def test_every_row_of_the_table_has_a_unit(profile: Profile) -> None:
    header, *rows = profile_table(profile)
    assert header == ("", "1 thread")
    assert [row[0].strip() for row in rows[:3]] == ["cold start, median", "from, to",
                                                    "of it loading"]  # fmt: skip
    assert all(row[1].endswith((" ms", " kB", " MB", " bytes", "measured")) for row in rows)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": [0]}, "threads must be 1 to"),
        ({"threads": [10**6]}, "cores of this machine"),
        ({"threads": [1, 1]}, "several different ones"),
        ({"threads": []}, "threads must be one number"),
        ({"batch_sizes": [5000]}, "batch must be 1 to 4096"),
        ({"runs": 1}, "runs must be 2 to 1,000,000, got 1"),
    ],
)
def test_numbers_out_of_bounds_are_refused(
    package: CheckedPackage, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        profile_package(package, **{"threads": [1], "batch_sizes": [1], "runs": 40, **changes})


def test_a_model_of_one_sample_is_not_measured_at_others(tmp_path: Path) -> None:
    with (
        checked_package(make_package(tmp_path, linear_model(batch=1))) as package,
        pytest.raises(InputError, match="takes batches of 1 only: pass --batch 1"),
    ):
        profile_package(package, threads=[1], batch_sizes=[1, 2], runs=40)


def slower(profile: Profile, factor: float) -> Profile:
    (measured,) = profile.measured
    latency = {
        batch: spread.model_copy(update={"p50": spread.p50 * factor})
        for batch, spread in measured.latency_ms.items()
    }
    changed = measured.model_copy(update={"latency_ms": latency})
    return profile.model_copy(update={"measured": [changed]})


def test_times_are_compared_one_by_one(profile: Profile) -> None:
    found = {compared.name: compared for compared in compare(profile, slower(profile, 1.5))}
    assert set(found) == {
        "fastest cold start, 1 thread", "p50, batch 1, 1 thread", "p50, batch 3, 1 thread",
    }  # fmt: skip
    assert found["fastest cold start, 1 thread"].slowdown == 1.0
    assert found["p50, batch 1, 1 thread"].slowdown == pytest.approx(1.5)
    assert str(found["p50, batch 3, 1 thread"]).endswith(": 1.500 times as long")


def test_only_the_same_can_be_compared(profile: Profile) -> None:
    here = this_machine()
    check_comparable(profile, here, [1], [1, 3])
    with pytest.raises(InputError, match="no figures for 2 threads, batch 1"):
        check_comparable(profile, here, [1, 2], [1])
    with pytest.raises(InputError, match="no figures for 1 thread, batch 2"):
        check_comparable(profile, here, [1], [2])
    with pytest.raises(InputError, match="here it is 'another': times of two machines"):
        check_comparable(profile, here.model_copy(update={"processor": "another"}), [1], [1])
