from __future__ import annotations

import pytest

from wfpipe.exporters.reporting.front_page import render_front
from wfpipe.tests.exporters.reporting.test_html import HOSTILE, Page
from wfpipe.tests.exporters.search_samples import (
    make_search,
    stopped,
    targets,
    trial,
    unreachable,
    usual_search,
)


def test_the_page_says_which_trial_is_chosen_and_why_and_shows_every_trial():
    found = Page(render_front(usual_search()))
    assert found.open == []
    assert (
        "Found wfpipe search on digits-cnn Trial 5 (sparsity 0.958) is the smallest" in found.text
    )
    assert "the smallest model with at most 1 point below dense" in found.text
    assert "5. sparsity 0.958 sparse-cpu chosen 98.61 % (-0.83) 95.80 %" in found.text
    assert "3. sparsity 0.975 97.20 % (-2.24) 97.50 % – – – stopped ends at 97.20 %" in found.text


def test_the_plots_show_the_front_and_trials_that_were_given_up_where_they_can():
    found = Page(render_front(usual_search()))
    assert found.tags.count("figure") == 3
    spots = [e["class"] for tag, e in found.elements if tag == "circle"]
    assert sum("c-dense" in spot for spot in spots) == 3
    chosen = [spot for spot in spots if "c-plain" in spot]
    assert len(chosen) == 3
    assert all("best" in spot for spot in chosen)
    assert found.text.count("3. sparsity 0.975 2.5 97.20") == 1
    assert "0. dense model 100 99.44 1. sparsity 0.9" in found.text


@pytest.mark.parametrize(
    ("search", "words"),
    [
        (make_search([], finished=False), "Not finished"),
        (make_search([stopped(1, 0.9, 50.0)]), "Nothing found"),
        (make_search([unreachable(1, 3.0, 2.0)], targets=targets(speedup=3.0),
                     varied="prune.target_speedup"), "out of reach"),
    ],
)  # fmt: skip
def test_a_search_without_a_result_has_a_page_too(search, words):
    found = Page(render_front(search))
    assert found.open == []
    assert words in found.text


def test_text_from_elsewhere_is_text_on_the_page():
    search = make_search(
        [trial(1, 0.9, 99.0, reason=HOSTILE, form=HOSTILE, folder=HOSTILE)], model=HOSTILE
    )
    found = Page(render_front(search))
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert HOSTILE in found.text


def test_the_page_loads_nothing():
    found = Page(render_front(usual_search()))
    assert not {"src", "href"} & {name for name, _ in found.attributes}
    assert "script" not in found.tags
