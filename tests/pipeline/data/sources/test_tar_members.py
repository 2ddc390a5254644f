from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from wfpipe.pipeline.data.sources import tar_members
from wfpipe.pipeline.data.sources.tar_members import members


def write(path: Path, form: int, mtime: float = 0, folder: str = "", **odd: Any) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for number in range(9):
            for suffix, content in ((".jpg", b"x" * number * 137), (".cls", b"%d" % number)):
                info = tarfile.TarInfo(f"{folder}ü{number}{suffix}")
                info.size, info.mtime = len(content), mtime
                archive.addfile(info, io.BytesIO(content))
        other = tarfile.TarInfo("other")
        other.type = tarfile.DIRTYPE
        for name, value in odd.items():
            setattr(other, name, value)
        archive.addfile(other)
    return path


def by_tarfile(path: Path) -> list[tuple[str, int, int]]:
    with tarfile.open(path, "r:") as archive:
        return [(m.name, m.offset_data, m.size) for m in archive if m.isreg()]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "long/" * 25, "d/" * 110])
def test_members_are_those_that_tarfile_finds(tmp_path: Path, form: int, folder: str, monkeypatch):
    path = write(tmp_path / "a.tar", form, 1.5, folder)
    wanted = by_tarfile(path)
    monkeypatch.setattr(tarfile, "open", None)  # none of these needs it
    found = members(str(path), (".cls",), 10)
    assert [each[:3] for each in found] == wanted
    assert [each.content for each in found if each.name.endswith(".cls")] == [
        b"%d" % n for n in range(9)
    ]


def test_what_is_unusual_is_left_to_tarfile(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", tarfile.GNU_FORMAT, type=tarfile.SYMTYPE, linkname="ü1.jpg")
    with path.open("rb") as file, pytest.raises(tar_members._Unusual):
        list(tar_members._plain(tar_members._Window(file.fileno()), (), 0))
    found = members(str(path), (".cls",), 10)
    assert [each[:3] for each in found] == by_tarfile(path)
    assert found[-1].content == b"8"


@pytest.mark.parametrize("cut", [0, 100, 700, 5000, 6200])
def test_a_torn_file_is_taken_as_tarfile_does(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.tar", tarfile.USTAR_FORMAT)
    path.write_bytes(path.read_bytes()[:cut])
    try:
        wanted = by_tarfile(path)
    except tarfile.TarError as error:
        with pytest.raises(type(error)):
            members(str(path), (), 0)
    else:
        assert [each[:3] for each in members(str(path), (), 0)] == wanted
