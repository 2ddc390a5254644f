from __future__ import annotations

import yaml

from wfpipe.pipeline.recipe.describing import describe_defaults
from wfpipe.pipeline.recipe.reading import resolve
from wfpipe.pipeline.recipe.recipe import Recipe


def test_the_described_defaults_are_the_defaults():
    assert resolve(yaml.safe_load(describe_defaults())) == Recipe()
