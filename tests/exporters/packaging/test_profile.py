from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wfpipe.exporters.documents.profile import Profile
from wfpipe.exporters.measuring.environment import this_machine
from wfpipe.exporters.packaging.profile import profile_package
from wfpipe.exporters.packaging.verify import CheckedPackage, checked_package
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
