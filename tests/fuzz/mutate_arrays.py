"""Changes to .npy and .npz files and to the checkpoints of torch.save."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from random import Random

from .mutate_bytes import mutate_bytes, number, text
from .mutate_zip import mutate_zip, rebuild

_TYPES = (
    "<f4", ">f8", "|u1", "<i8", "|O", "<U9", "|S0", "|V0", "<U100000000", "<M8[ns]", "?", "<f2",
    "<c16", "<f16", "3<f4", "|b1", "<i1", "zz",
)  # fmt: skip
_PICKLED = (
    b"cos\nsystem\n(S'echo'\ntR.", b"\x80\x02cbuiltins\neval\n.", b"\x80\x02}q\x00.", b"0" * 50,
    b"\x80\x02ctorch\nTensor\n)\x81.", b"(" * 10_000 + b".", b"\x80\x02]q\x00h\x00a.",
    b"\x8a\x04\xff\xff\xff\x7f", b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_sparse_tensor\n",
    b"ctorch._utils\n_rebuild_parameter\n", b"ctorch\ndevice\n",
    b"ctorch._utils\n_rebuild_qtensor\n",
    b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n", b"ctorch\nSize\n", b"Q.", b"}(", b"N.",
)  # fmt: skip


def mutate_npy(content: bytes, rng: Random) -> bytes:
    """Change the header, the version or the bytes of an .npy file."""
    if rng.random() < 0.3 or len(content) < 80:
        return mutate_bytes(content, rng)
    header = content[10:].partition(b"\n")[0].decode("latin-1")
    data = content[10 + len(header) + 1 :]
    kind = rng.randrange(6)
    if kind == 0:
        header = re.sub(r"'descr': '[^']*'", f"'descr': {rng.choice(_TYPES)!r}", header)
    elif kind == 1:
        shape = tuple(number(rng, 4) for _ in range(rng.choice((0, 1, 2, 3, 4, 40))))
        header = re.sub(r"'shape': \([^)]*\)", lambda _: f"'shape': {shape}", header)
    elif kind == 2:
        header = header.replace("False", rng.choice(("True", "1", "None", "[]")))
    elif kind == 3:
        at = rng.randrange(len(header))
        header = header[:at] + rng.choice((text(rng), "(" * 300, "-" * 500)) + header[at:]
    elif kind == 4:
        header = re.sub(r"\d+", lambda _: str(number(rng, 4)), header, count=1)
    else:
        data = mutate_bytes(data, rng)
    raw = header.encode("utf-8", "replace") + b"\n"
    length = len(raw) if rng.random() < 0.8 else number(rng, len(raw)) % 65536
    version = bytes(rng.choice(((1, 0), (1, 0), (1, 0), (2, 0), (3, 0), (9, 9))))
    size = struct.pack("<H", length % 65536) if version[0] == 1 else struct.pack("<L", length)
    return b"\x93NUMPY" + version + size + raw + data


def mutate_npz(content: bytes, rng: Random) -> bytes:
    """Change an array in an .npz file, or the archive around it."""
    if rng.random() < 0.4:
        return mutate_zip(content, rng)
    members = _members(content)
    name = rng.choice(list(members))
    members[name] = mutate_npy(members[name], rng)
    return rebuild(members, rng)


def mutate_checkpoint(content: bytes, rng: Random) -> bytes:
    """Change the pickle or a storage of a checkpoint, or the archive around it."""
    if not content.startswith(b"PK"):
        return mutate_pickle(content, rng)
    if rng.random() < 0.3:
        return mutate_zip(content, rng)
    members = _members(content)
    pickles = [name for name in members if name.endswith(".pkl")]
    name = rng.choice(pickles if pickles and rng.random() < 0.7 else list(members))
    change = mutate_pickle if name.endswith(".pkl") else mutate_bytes
    members[name] = change(members[name], rng)
    if rng.random() < 0.05:
        members[name.rpartition("/")[0] + "/constants.pkl"] = b"\x80\x02N."
    return rebuild(members, rng)


def mutate_pickle(content: bytes, rng: Random) -> bytes:
    """Change numbers and names in a pickle, or put operations into it."""
    kind = rng.random()
    at = rng.randrange(len(content) + 1)
    if kind < 0.3:
        return mutate_bytes(content, rng)
    if kind < 0.5:
        return content[:at] + rng.choice(_PICKLED) + content[at:]
    if kind < 0.8:
        places = [m.start() for m in re.finditer(rb"[KMJ]", content)]
        if places:
            at = rng.choice(places)
            width = {75: 1, 77: 2, 74: 4}[content[at]]
            value = (number(rng, content[at + 1] if at + 1 < len(content) else 0)) % 256**8
            if rng.random() < 0.5:  # a number of eight bytes in the place of the short one
                new = b"\x8a\x08" + value.to_bytes(8, "little")
            else:
                new = content[at : at + 1] + (value % 256**width).to_bytes(width, "little")
            return content[:at] + new + content[at + 1 + width :]
    names = (b"FloatStorage", b"HalfStorage", b"LongStorage", b"cpu", b"OrderedDict", b"weight")
    old, new = rng.choice(names), rng.choice((*names, b"cuda:0", b"meta", b"x", b"QInt8Storage"))
    return content.replace(old, new, 1)


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
