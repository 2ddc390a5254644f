from __future__ import annotations

from wfpipe.exporters.measuring.environment import this_machine
from wfpipe.exporters.reporting.profile_table import profile_table
from wfpipe.tests.exporters.profile_samples import make_profile


def test_every_row_of_the_table_has_a_unit() -> None:
    header, *rows = profile_table(make_profile(this_machine(), threads=1, batches=[1, 3]))
    assert header == ("", "1 thread")
    assert [row[0].strip() for row in rows[:3]] == ["cold start, median", "from, to",
                                                    "of it loading"]  # fmt: skip
    assert all(row[1].endswith((" ms", " kB", " MB", " bytes", "measured")) for row in rows)
