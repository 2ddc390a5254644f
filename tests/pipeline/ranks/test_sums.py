from __future__ import annotations

import torch

from wfpipe.pipeline.ranks.sums import Sums
from wfpipe.pipeline.ranks.traffic import Traffic
from wfpipe.tests.pipeline.ranks.together import together

CHAIN = [(0, 1), (1, 2), (2, 3)]


def sums_along_a_chain(ranks):
    sums = Sums(ranks, Traffic(), CHAIN)
    mine = [parts for parts in CHAIN if ranks.rank in parts]
    found = [sums.among(parts) for parts in mine]
    value = torch.tensor([10.0**ranks.rank])
    return (
        [float(each.sum(value)) for each in found],
        [each.gather(ranks.rank) for each in found],
        float(sums.among((0, 1, 2, 3)).sum(value)),
    )


def test_sets_of_ranks_that_overlap_in_a_chain_form_their_sums():
    found = together(sums_along_a_chain, size=4)
    assert [sums for sums, _, _ in found] == [[11], [11, 110], [110, 1100], [1100]]
    assert [given for _, given, _ in found] == [
        [[0, 1]], [[0, 1], [1, 2]], [[1, 2], [2, 3]], [[2, 3]],
    ]  # fmt: skip
    assert {whole for _, _, whole in found} == {1111}
