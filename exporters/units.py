"""Measured numbers as text with units."""

from __future__ import annotations


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

    >>> format_ms(0.05512), format_ms(12.34)
    ('0.055 ms', '12.3 ms')
    """
    return f"{milliseconds:.3f} ms" if milliseconds < 10 else f"{milliseconds:.1f} ms"


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
