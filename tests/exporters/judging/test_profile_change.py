from __future__ import annotations

import pytest

from wfpipe.exporters.documents.profile import Profile
from wfpipe.exporters.judging.profile_change import check_comparable, compare
from wfpipe.exporters.measuring.environment import this_machine
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.profile_samples import make_profile


@pytest.fixture
def profile() -> Profile:
    return make_profile(this_machine(), threads=1, batches=[1, 3])


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
