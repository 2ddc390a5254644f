from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from wfpipe.support.errors import InputError
from wfpipe.support.files import (
    append_text,
    check_writable,
    read_bytes,
    replacing,
    write_bytes,
    write_json,
)


def fail_half_way(temporary: Path) -> None:
    temporary.write_text("new, but not all of it")
    raise RuntimeError("half way")


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), replacing(path) as temporary:
        fail_half_way(temporary)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_folders_are_made_and_permissions_are_those_of_a_plain_file(tmp_path):
    write_bytes(tmp_path / "a" / "b", b"content")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "a" / "b", tmp_path / "plain")}
    assert len(modes) == 1


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_bytes(tmp_path / "file", b"content")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        write_bytes(tmp_path / "file" / "below", b"content")


def test_json_takes_no_nan(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("content", "message"), [(None, "does not exist"), (b"", "is empty")])
def test_missing_and_empty_files_are_told_apart(tmp_path, content, message):
    path = tmp_path / "input"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_bytes(path, "recipe")


def test_folders_and_large_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not a file"):
        read_bytes(tmp_path, "recipe")
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(InputError, match="5 bytes: the limit is 4 bytes"):
        read_bytes(tmp_path / "large", "recipe", limit=4)


def test_text_is_appended_and_the_folder_made(tmp_path):
    for line in ("one\n", "two ×\n"):
        append_text(tmp_path / "a" / "b.md", line)
    assert (tmp_path / "a" / "b.md").read_bytes() == "one\ntwo ×\n".encode()
    with pytest.raises(InputError, match="cannot write"):
        append_text(tmp_path / "a", "more")


def test_a_file_that_could_not_be_written_is_found_before(tmp_path):
    check_writable(tmp_path / "new" / "file", "--out")
    assert os.listdir(tmp_path) == []
    with pytest.raises(InputError, match=r"--out .* is a folder"):
        check_writable(tmp_path, "--out")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        check_writable(tmp_path / "file" / "below", "--out")
