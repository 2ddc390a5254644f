"""Whether the kernels have room for a convolution's window: the rule of native/stage_plan.cpp.

The surroundings of a channel that a tile's outputs read lie on the stack, as an array for each
phase of the strides, or for each tap where taps cannot share one.
"""

from __future__ import annotations

from .operators import Window

_ROOM = 6 * 1024  # floats
_LANES, _TILE = 16, 128  # of the widest processor, whose tiles are longest
_MOST_MASKS = 1 << 20


def has_room(window: Window, width: int) -> bool:
    """Return whether the kernels take a window whose outputs are ``width`` wide.

    >>> has_room(Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1), (56, 56)), 56)
    True
    >>> has_room(Window((16, 16), (16, 16), (0, 0, 0, 0), (1, 1), (224, 224)), 14)
    False
    """
    return (_shares(window, width) and _floats(window, width, shared=True) <= _ROOM) or (
        _floats(window, width, shared=False) <= _ROOM
    )


def _shares(window: Window, width: int) -> bool:
    kernel, stride, size = window.kernel[-1], window.strides[-1], window.size[-1]
    for tap in range(kernel):
        origin = _origin(window, -1, tap)
        shift = origin // stride
        if shift > 0 and -((origin - shift * stride - size) // stride) > width:
            return False
    return stride <= 2 and kernel * (width + _TILE) <= _MOST_MASKS


def _origin(window: Window, axis: int, tap: int) -> int:
    begin = window.pads[: len(window.kernel)][axis]
    return tap * window.dilations[axis] - begin


def _floats(window: Window, width: int, *, shared: bool) -> int:
    """Return how many floats the arrays take together."""
    two = len(window.kernel) == 2
    ends: dict[tuple[int, int], tuple[int, int]] = {}
    for down in range(window.kernel[0] if two else 1):
        above, pitch = (_origin(window, 0, down), window.strides[0]) if two else (0, 1)
        for across in range(window.kernel[-1]):
            left, stride = _origin(window, -1, across), window.strides[-1]
            shift = left // stride if shared else 0
            place = above // pitch * width + shift
            low, high = ends.get(key := (above % pitch, left - shift * stride), (place, place))
            ends[key] = min(low, place), max(high, place)
    arrays = (low % _LANES + high - low + _TILE for low, high in ends.values())
    return sum(-(-floats // _LANES) * _LANES for floats in arrays)
