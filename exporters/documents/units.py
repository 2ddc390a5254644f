"""Measured numbers as text with units."""

from __future__ import annotations

from .report import Speedup


def format_bytes(size: int) -> str:
    """Return a size with a decimal unit: 1 kB is 1,000 bytes.

    >>> format_bytes(999), format_bytes(41_250), format_bytes(97_800_000)
    ('999 bytes', '41.2 kB', '97.8 MB')
    """
    if size < 1000:
        return f"{size} bytes"
    if size < 999_950:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 999_950_000 else f"{size / 1e9:.2f} GB"


def format_ms(milliseconds: float) -> str:
    """Return a time.

    >>> format_ms(0.05512), format_ms(12.34), format_ms(1472.84)
    ('0.055 ms', '12.3 ms', '1,472.8 ms')
    """
    return f"{ms_digits(milliseconds)} ms"


def ms_digits(milliseconds: float) -> str:
    """Return a time as :func:`format_ms`, where the unit stands elsewhere."""
    return f"{milliseconds:.3f}" if milliseconds < 10 else f"{milliseconds:,.1f}"


def format_speed(speed: Speedup) -> str:
    """Return dense p50 / p50 of a form with its 95 % interval.

    Two decimals, or three where two would hide on which side of 1 the interval ends, or all of it.

    >>> format_speed(Speedup(ratio=1.254, low=1.21, high=1.3))
    '1.25× (1.21× to 1.30×)'
    >>> format_speed(Speedup(ratio=0.94, low=0.89, high=0.998))
    '0.940× (0.890× to 0.998×)'
    """
    close = any(abs(bound - 1) < 0.005 and bound != 1 for bound in (speed.low, speed.high))
    decimals = 3 if close or speed.low < 0.1 else 2
    ratio, low, high = (f"{f:.{decimals}f}×" for f in (speed.ratio, speed.low, speed.high))
    return f"{ratio} ({low} to {high})"


def counted(number: int, what: str) -> str:
    """Return a number of things in words.

    >>> counted(1, "thread"), counted(2, "thread")
    ('1 thread', '2 threads')
    """
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def format_count(number: int, unit: str) -> str:
    """Return a count.

    >>> format_count(8823, "values"), format_count(25_557_032, "MACs")
    ('8,823 values', '25.56 M MACs')
    """
    if number >= 10_000_000_000:
        return f"{number / 1e9:.2f} G {unit}"
    return f"{number:,} {unit}" if number < 10_000_000 else f"{number / 1e6:.2f} M {unit}"


def format_times(dense: float, pruned: float, less: str, more: str) -> str:
    """Say how many times less, or more, ``pruned`` is than ``dense``.

    >>> format_times(10, 4, "smaller", "larger"), format_times(4, 10, "smaller", "larger")
    ('2.50× smaller', '2.50× larger')
    """
    if dense <= 0 or pruned <= 0:
        return ""
    ratio = dense / pruned
    if f"{ratio:.2f}" == "1.00":
        return "the same"
    return f"{ratio:.2f}× {less}" if ratio > 1 else f"{1 / ratio:.2f}× {more}"
