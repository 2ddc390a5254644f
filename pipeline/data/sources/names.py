"""Many strings in two arrays: a million Python strings take several times as much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt


class Names:
    """Strings, such as paths, one behind the other.

    Args:
        text: all of them in UTF-8, UInt8[bytes].
        ends: where each ends, Int64[n].
    """

    def __init__(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self._text, self._ends = text, ends

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """Return strings as such a table; bytes of file names that are no UTF-8 are kept."""
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), ends)

    @classmethod
    def joined(cls, tables: Sequence[Names]) -> Names:
        """Return the strings of all tables, in order."""
        tables = [cls.of([]), *tables]
        starts = np.cumsum([0, *(len(table._text) for table in tables[:-1])])
        ends = [table._ends + start for table, start in zip(tables, starts, strict=True)]
        return cls(np.concatenate([table._text for table in tables]), np.concatenate(ends))

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        start = self._ends[index - 1] if index else 0
        return self._text[start : self._ends[index]].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))
