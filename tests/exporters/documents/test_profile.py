from __future__ import annotations

import json
from pathlib import Path

import pytest

from wfpipe.exporters.documents.profile import read_profile
from wfpipe.exporters.measuring.environment import this_machine
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.profile_samples import make_profile


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    profile = make_profile(this_machine(), batches=[1, 3])
    (tmp_path / "a.json").write_text(json.dumps(profile.to_json()))
    assert read_profile(tmp_path / "a.json") == profile
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match=r"--baseline .* must have the schema 'wfpipe-profile/1'"):
        read_profile(tmp_path / "a.json")
