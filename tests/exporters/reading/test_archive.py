from __future__ import annotations

import io
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpipe.exporters.reading import archive
from wfpipe.exporters.reading.archive import read_archive, unpack_archive, write_archive
from wfpipe.support.errors import InputError
from wfpipe.tests.exporters.package_samples import result_or_line
from wfpipe.tests.refusal import refusal_of

MEMBERS = {"b.txt": b"b" * 1000, "folder/a.bin": bytes(range(256)), "empty": b""}


def make_zip(path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry, content in entries:
            file.writestr(entry, content)
    return path


def raw_zip(*members: tuple[bytes, bytes], **central: int) -> bytes:
    """A zip archive of stored members, built by hand; ``central`` overrides central fields."""
    out, directory = io.BytesIO(), io.BytesIO()
    for name, content in members:
        offset = out.tell()
        crc, size = zlib.crc32(content), len(content)
        out.write(
            struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, crc, size, size, len(name), 0)
        )
        out.write(name + content)
        fields = {
            "made": 0x0314, "needed": 20, "flags": 0, "method": 0, "time": 0, "date": 33,
            "crc": crc, "packed": size, "size": size, "name": len(name), "extra": 0, "comment": 0,
            "disk": 0, "internal": 0, "external": 0, "offset": offset, **central,
        }  # fmt: skip
        directory.write(b"PK\1\2" + struct.pack("<6H3L5H2L", *fields.values()) + name)
    start, listed = out.tell(), directory.getvalue()
    count = len(members)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed), start, 0)
    return out.getvalue() + listed + end


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    message = refusal_of(lambda: read_archive(path))
    assert str(path) in message
    return message


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", MEMBERS)
    assert read_archive(tmp_path / "a.zip") == MEMBERS
    assert list(read_archive(tmp_path / "a.zip")) == list(MEMBERS)


def test_what_is_written_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", MEMBERS)
    with zipfile.ZipFile(tmp_path / "a.zip") as file:
        for entry in file.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert (entry.create_system, entry.external_attr >> 16) == (3, stat.S_IFREG | 0o644)
            assert entry.compress_type == zipfile.ZIP_DEFLATED


def test_the_same_members_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "a.zip", MEMBERS)
    before = os.umask(0o077)
    try:
        (tmp_path / "other").mkdir()
        monkeypatch.chdir(tmp_path / "other")
        write_archive(Path("a.zip"), MEMBERS)
    finally:
        os.umask(before)
    assert Path("a.zip").read_bytes() == (tmp_path / "a.zip").read_bytes()


def test_archives_of_common_tools_are_read_and_folders_left_out(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("folder/", b""), ("folder/a", b"1"), ("ü.txt", b"2"))
    assert read_archive(path) == {"folder/a": b"1", "ü.txt": b"2"}


def test_a_name_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="member name"):
        write_archive(tmp_path / "a.zip", {"../a": b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        b"/etc/passwd", b"../a", b"a/../../b", b"a/./b", b"a//b", b"C:/a", b"c:a", b"a\\b",
        b"\\\\host\\share", b"a\0b", b"a\nb", b"..", b"", b"/", b" a", b"a /b", b"x" * 300,
        b"a.", b"folder./a", b"CON", b"a/aux.txt", b"a?", b"a\x7fb",
    ],
)  # fmt: skip
def test_names_that_could_lead_outside_are_refused(tmp_path: Path, name: bytes) -> None:
    message = refused(tmp_path / "a.zip", raw_zip((name, b"content")))
    assert "member name" in message


@pytest.mark.parametrize("name", ["in\x9bfer", "in\u200cfer", "a\u2028b", "a\u00a0b"])
def test_names_with_what_is_not_seen_are_refused(tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "a.zip", (name, b"content"))
    assert "a character that is not seen" in refused(path, path.read_bytes())


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "A"), ("ä", "a\u0308"), ("a", "a/"), ("a/b", "A/B")]
)
def test_two_members_of_one_name_are_refused(tmp_path: Path, first: str, second: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate") if first == second else nullcontext():
        path = make_zip(tmp_path / "a.zip", (first, b""), (second, b""))
    assert "same name" in refused(path, path.read_bytes())


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_in_a_file_is_refused(tmp_path: Path, order: int) -> None:
    path = make_zip(tmp_path / "a.zip", *[("a", b"1"), ("a/b", b"2")][::order])
    assert "lies in another member" in refused(path, path.read_bytes())


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR])
def test_links_and_special_files_are_refused(tmp_path: Path, mode: int) -> None:
    content = raw_zip((b"a", b"/etc/passwd"), external=(mode | 0o777) << 16)
    assert "is a link or a special file" in refused(tmp_path / "a.zip", content)


@pytest.mark.parametrize("flags", [0x0001, 0x0020, 0x0041, 0x2001])
def test_encrypted_members_are_refused(tmp_path: Path, flags: int) -> None:
    message = refused(tmp_path / "a.zip", raw_zip((b"a", b"content"), flags=flags))
    assert "is encrypted or a patch" in message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as file:
        file.writestr("a", b"content" * 100)
    message = refused(tmp_path / "a.zip", (tmp_path / "a.zip").read_bytes())
    assert "must be stored or deflated" in message


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    inner = b"PK\3\4" + b"\0" * 40
    good = raw_zip((b"a", inner), (b"b", b"content"))
    second = good.rindex(b"PK\1\2")
    inside = good.index(inner)
    bad = good[: second + 42] + struct.pack("<L", inside) + good[second + 46 :]
    assert "overlaps" in refused(tmp_path / "a.zip", bad)


def test_a_member_that_reaches_into_the_list_is_refused(tmp_path: Path) -> None:
    good = raw_zip((b"a", b"content"))
    longer = struct.pack("<2L", 30, 30)
    at = good.index(b"PK\1\2") + 20
    bad = good[:18] + longer + good[26:at] + longer + good[at + 8 :]
    message = refused(tmp_path / "a.zip", bad)
    assert "overlaps the list" in message or "Overlapped" in message


LOCAL = {"flags": (6, 2), "method": (8, 8), "crc": (14, 1), "packed": (18, 6), "size": (22, 6)}


@pytest.mark.parametrize("field", LOCAL)
def test_a_record_that_differs_from_the_list_is_refused(tmp_path: Path, field: str) -> None:
    at, value = LOCAL[field]
    content = bytearray(raw_zip((b"a", b"content")))
    content[at] = value
    assert "the record of 'a' is not as the list says" in refused(tmp_path / "a", bytes(content))


def test_another_name_in_the_record_is_refused(tmp_path: Path) -> None:
    content = raw_zip((b"a", b"content")).replace(b"a", b"b", 1)
    assert "the record of 'a' is not as the list says" in refused(tmp_path / "a.zip", content)


def shifted(content: bytes, before: bytes) -> bytes:
    """Put bytes before everything, and mend all offsets: other programs find nothing wrong."""
    out = bytearray(content)
    at = start = struct.unpack_from("<L", content, len(content) - 6)[0]
    while content[at : at + 4] == b"PK\1\2":
        (offset,) = struct.unpack_from("<L", content, at + 42)
        struct.pack_into("<L", out, at + 42, offset + len(before))
        at += 46 + sum(struct.unpack_from("<3H", content, at + 28))
    struct.pack_into("<L", out, len(out) - 6, start + len(before))
    return before + bytes(out)


def test_bytes_in_no_member_are_refused(tmp_path: Path) -> None:
    good = raw_zip((b"a", b"1"), (b"b", b"2"))
    message = refused(tmp_path / "a.zip", shifted(good, b"#!/bin/sh\nexit\n"))
    assert "has bytes before member 'a' that are in none" in message
    start = struct.unpack_from("<L", good, len(good) - 6)[0]
    gap = good[:start] + b"hidden" + good[start:-6] + struct.pack("<LH", start + 6, 0)
    message = refused(tmp_path / "a.zip", gap)
    assert "has bytes before the list of members that are in none" in message


@pytest.mark.parametrize(
    ("kind", "fits"), [(0x5455, True), (0x7875, True), (0x7075, False), (0xCAFE, False)]
)
def test_times_may_be_added_to_a_record_and_other_names_may_not(
    tmp_path: Path, kind: int, fits: bool
) -> None:
    entry = zipfile.ZipInfo("a")
    entry.extra = struct.pack("<2H5s", kind, 5, b"x" * 5)
    path = make_zip(tmp_path / "a.zip", (entry, b"content"))
    if fits:
        assert read_archive(path) == {"a": b"content"}
    else:
        assert f"a part of the kind {kind:#06x}" in refused(path, path.read_bytes())


def test_a_size_behind_the_member_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path / "a.zip", raw_zip((b"a", b"content"), flags=0x0008))
    assert "has its size behind it or an unknown flag (0x0008)" in message


def test_a_file_that_takes_rights_is_refused(tmp_path: Path) -> None:
    content = raw_zip((b"a", b"content"), external=0o104777 << 16)
    assert "takes the rights of its owner" in refused(tmp_path / "a.zip", content)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    members = [(f"{index}", b"") for index in range(archive.MAX_MEMBERS + 1)]
    path = make_zip(tmp_path / "a.zip", *members)
    assert f"has {len(members)} members" in refused(path, path.read_bytes())


def test_more_members_than_the_end_record_counts_are_refused(tmp_path: Path) -> None:
    members = [(f"{index}", b"") for index in range(archive.MAX_MEMBERS + 1)]
    content = bytearray(make_zip(tmp_path / "a.zip", *members).read_bytes())
    content[-14:-10] = struct.pack("<2H", 1, 1)
    assert f"has {len(members)} members" in refused(tmp_path / "a.zip", bytes(content))


def test_absurd_declared_sizes_are_refused_unread(tmp_path: Path) -> None:
    message = refused(tmp_path / "a.zip", raw_zip((b"a", b"content"), size=2**32 - 2))
    assert f"the limit is {archive.MAX_MEMBER_BYTES}" in message


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("zeros", bytes(archive.FREE_BYTES + 1)))
    assert f"the limit is {archive.MAX_RATIO} times" in refused(path, path.read_bytes())


def test_many_members_that_are_too_much_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 1500)
    path = make_zip(tmp_path / "a.zip", ("a", bytes(800)), ("b", bytes(800)))
    assert "holds 1600 bytes: the limit is 1500" in refused(path, path.read_bytes())


def change_size(content: bytes, change: int) -> bytes:
    """Change the size that the list of members declares of the last one."""
    at = content.rindex(b"PK\1\2") + 24
    (size,) = struct.unpack_from("<L", content, at)
    return content[:at] + struct.pack("<L", size + change) + content[at + 4 :]


@pytest.mark.parametrize("change", [-1, 1, 5000])
def test_content_of_another_size_than_declared_is_refused(tmp_path: Path, change: int) -> None:
    path = make_zip(tmp_path / "a.zip", ("a", b"content" * 100))
    assert "'a'" in refused(path, change_size(path.read_bytes(), change))


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = raw_zip((b"a", b"content")).replace(b"content", b"c0ntent")
    assert "Bad CRC-32" in refused(tmp_path / "a.zip", content)


def test_damaged_compressed_data_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", ("a", os.urandom(2000) + b"x" * 2000))
    content = bytearray(path.read_bytes())
    content[31 + 5 : 31 + 60] = b"\xff" * 55
    assert "member 'a'" in refused(path, bytes(content))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", MEMBERS)
    content = (tmp_path / "a.zip").read_bytes()
    for length in range(len(content)):
        refused(tmp_path / "b.zip", content[:length])


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 5000, b"PK\5\6"])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "not a zip archive" in refused(tmp_path / "a.zip", content)


@pytest.mark.parametrize(
    "wrap",
    [lambda zipped: b"#!/bin/sh\n" + zipped, lambda zipped: zipped + b"tail"],
    ids=["something before", "something after"],
)
def test_archives_with_more_around_them_are_refused(
    tmp_path: Path, wrap: Callable[[bytes], bytes]
) -> None:
    refused(tmp_path / "a.zip", wrap(raw_zip((b"a", b"content"))))


def test_a_zip64_locator_is_refused(tmp_path: Path) -> None:
    content = raw_zip((b"a", b"content"))
    message = refused(tmp_path / "a.zip", content[:-22] + b"PK\6\7" + bytes(16) + content[-22:])
    assert "zip64" in message


def test_a_name_with_another_meaning_is_refused(tmp_path: Path) -> None:
    content = raw_zip((b"a\xff\xfeb", b"content"), flags=0x800)
    assert "not a valid zip archive" in refused(tmp_path / "a.zip", content)


def test_what_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_archive(tmp_path / "none.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    for path in (tmp_path, tmp_path / "pipe.zip"):
        with pytest.raises(InputError, match="is not a file"):
            read_archive(path)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_never_give_other_members_or_another_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.zip"
    write_archive(path, MEMBERS)
    content = bytearray(path.read_bytes())
    for where, value in changes:
        content[where % len(content)] = value
    path.write_bytes(content)
    members = result_or_line(lambda: read_archive(path))
    assert members is None or set(members.values()) <= set(MEMBERS.values())


def test_unpacking_writes_every_file_below_the_folder(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", MEMBERS)
    written = unpack_archive(tmp_path / "a.zip", tmp_path / "out")
    assert written == [tmp_path / "out" / name for name in MEMBERS]
    assert {name: (tmp_path / "out" / name).read_bytes() for name in MEMBERS} == MEMBERS


def test_unpacking_writes_nothing_when_one_member_is_bad(tmp_path: Path) -> None:
    content = raw_zip((b"a", b"1"), (b"../b", b"2"))
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="member name"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", ["file", "full folder", "link"])
def test_unpacking_leaves_alone_what_is_there(tmp_path: Path, kind: str) -> None:
    write_archive(tmp_path / "a.zip", MEMBERS)
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    with pytest.raises(InputError, match=r"out"):
        unpack_archive(tmp_path / "a.zip", out)
    assert not list(tmp_path.rglob("b.txt"))


def test_members_that_grow_too_much_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 10_000)
    path = make_zip(tmp_path / "a.zip", *((f"m{index}", bytes(9_000)) for index in range(3)))
    assert len(read_archive(path)) == 3
    monkeypatch.setattr(archive, "MAX_RATIO", 2)
    assert "to 27000 bytes: above 10000 bytes" in refused(path, path.read_bytes())
