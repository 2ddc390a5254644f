"""What tests of bad input share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wfpipe.support.errors import InputError


def refusal_of(call: Callable[[], object]) -> str:
    """Return what a refused input is told, having checked that it is one line."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message
