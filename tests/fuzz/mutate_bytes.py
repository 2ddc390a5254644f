"""Changes to a file that know nothing of its format."""

from __future__ import annotations

import struct
from random import Random

INTERESTING = (
    0, 1, -1, 2, 3, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
    2**62, 2**63 - 1, -(2**31), -(2**63), 10**6, 10**9, 10**12,
)  # fmt: skip
TEXTS = (
    "", "x", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:\\x", "\x00", "\n", "\x1b[2J",
    "é", "\ud83d\ude00", "x" * 300, "x" * 70_000, "nan", "inf", "1e999", "-1", "{}", "%s%n",
    "os.system", "__class__", "*/_ORT_MEM_ADDR_/*", "weights.bin", "null", "ai.onnx", "batch",
)  # fmt: skip


def mutate_bytes(content: bytes, rng: Random) -> bytes:
    """Return ``content`` after one to four changes."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _change(out, rng)
    return bytes(out)


def _change(out: bytearray, rng: Random) -> None:
    size = len(out)
    at = rng.randrange(size + 1)
    length = min(rng.choice((1, 2, 4, 8, 16, 64, 256, 4096)), size)
    other = rng.randrange(size + 1)
    kind = rng.randrange(8)
    if kind == 0 and size:
        out[min(at, size - 1)] ^= 1 << rng.randrange(8)
    elif kind == 1 and size:
        out[min(at, size - 1)] = rng.randrange(256)
    elif kind == 2:
        del out[at:]
    elif kind == 3:
        del out[at : at + length]
    elif kind == 4:
        out[at:at] = out[other : other + length]
    elif kind == 5:
        out[at : at + length] = out[other : other + length]
    elif kind == 6:
        number = rng.choice(INTERESTING) % 2**64
        width = rng.choice((1, 2, 4, 8))
        packed = (number % 256**width).to_bytes(width, rng.choice(("little", "big")))
        out[at : at + width] = packed
    else:
        out[at:at] = rng.randbytes(min(length, 64))


def mutate_flatbuffer(content: bytes, rng: Random) -> bytes:
    """Return FlatBuffers with some offsets, lengths or numbers changed, or any bytes.

    Offsets of tables are 32 bits at places that four divides; those of fields are 16 bits.
    """
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        width = rng.choice((2, 4, 4, 8))
        at = rng.randrange(8, len(out) - 8) // width * width
        old = int.from_bytes(out[at : at + width], "little")
        near = rng.choice((4, -4, 8, -8, 64, -64, rng.randrange(len(out))))
        new = old + near if rng.random() < 0.5 else number(rng, old)
        out[at : at + width] = (new % 256**width).to_bytes(width, "little")
    return bytes(out)


def number(rng: Random, old: int = 0) -> int:
    """Return a number that tends to break things, sometimes near ``old``."""
    if rng.random() < 0.3:
        return old + rng.choice((-1, 1, 8, -8, 1000))
    return rng.choice(INTERESTING)


def text(rng: Random) -> str:
    """Return a string that tends to break things."""
    return rng.choice(TEXTS)


def patch(content: bytes, layout: str, at: int, rng: Random) -> bytes:
    """Put an interesting number into one field of the record at ``at``.

    Args:
        content: the file.
        layout: the record, in the notation of :mod:`struct`: ``<`` and letters ``H`` and ``L``.
        at: where it begins.
        rng: chooses.
    """
    values = list(struct.unpack_from(layout, content, at))
    index = rng.randrange(len(values))
    limit = {"H": 2**16, "L": 2**32}[layout[1 + index]]
    values[index] = number(rng, values[index]) % limit
    out = bytearray(content)
    struct.pack_into(layout, out, at, *values)
    return bytes(out)
