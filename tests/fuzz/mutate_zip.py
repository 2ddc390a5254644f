"""Changes to zip archives: records, names, members."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from random import Random

from .mutate_bytes import mutate_bytes, patch, text

_RECORDS = {
    b"PK\1\2": "HHHHHHLLLHHHHHLL",
    b"PK\3\4": "HHHHHLLLHH",
    b"PK\5\6": "HHHHLLH",
}


def mutate_zip(content: bytes, rng: Random) -> bytes:
    """Change a record or the bytes of an archive, or its members as a whole."""
    kind = rng.random()
    if kind < 0.25:
        return mutate_bytes(content, rng)
    if kind < 0.75:
        for _ in range(rng.choice((1, 1, 2))):
            content = _patch_record(content, rng)
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return rebuild(_reshuffled(members, rng), rng)


def rebuild(members: dict[str, bytes], rng: Random) -> bytes:
    """Return an archive of ``members``, stored or deflated."""
    out = io.BytesIO()
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name.replace("\x00", "\x01")), content, method, 1)
    return out.getvalue()


def _patch_record(content: bytes, rng: Random) -> bytes:
    signature = rng.choice(list(_RECORDS))
    layout = "<" + _RECORDS[signature]
    places = [
        match.end()
        for match in re.finditer(re.escape(signature), content)
        if match.end() + struct.calcsize(layout) <= len(content)
    ]
    if not places:
        return mutate_bytes(content, rng)
    at = rng.choice(places)
    return patch(content, layout, at, rng)


def _reshuffled(members: dict[str, bytes], rng: Random) -> dict[str, bytes]:
    names = list(members)
    name = rng.choice(names)
    kind = rng.randrange(5)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[text(rng).encode("utf-8", "replace").decode()[:60_000]] = members.pop(name)
    elif kind == 2:
        members[name] = members[rng.choice(names)]
    elif kind == 3:
        members[rng.choice(("../" + name, "/" + name, name + "/x", name.upper(), "x/"))] = b"x"
    else:
        members[name] = rng.choice((b"", b"\0" * 5_000_000, members[name] * 2))
    return members
