from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wfpipe.pipeline.data.preparation.subset import stratified


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.data())
def test_subset_has_the_wanted_size_and_every_class_in_proportion(
    labels: list[int], data: st.DataObject
) -> None:
    targets = np.array(labels)
    classes, sizes = np.unique(targets, return_counts=True)
    count = data.draw(st.integers(len(classes), len(targets)))
    chosen = stratified(targets, count, 3)
    assert len(set(chosen.tolist())) == count
    assert chosen.tolist() == sorted(chosen.tolist())
    found = np.array([(targets[chosen] == label).sum() for label in classes])
    assert found.min() >= 1
    # One sample of each class comes first; the rest is shared in proportion, up to rounding.
    rest = (count - len(classes)) * (sizes - 1) / max(1, len(targets) - len(classes))
    assert np.all(np.abs(found - 1 - rest) < 1)


def test_subset_of_equal_classes_is_equal() -> None:
    targets = np.repeat(np.arange(10), 50)
    assert np.bincount(targets[stratified(targets, 100, 1)]).tolist() == [10] * 10


def test_subset_is_fixed_by_its_stream() -> None:
    targets = np.repeat(np.arange(2), 50)
    assert stratified(targets, 20, 1).tolist() == stratified(targets, 20, 1).tolist()
    assert stratified(targets, 20, 1).tolist() != stratified(targets, 20, 2).tolist()
