"""Packages at the command line: keys, signatures, verification, profiles."""

from __future__ import annotations

import json
import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from wfpipe.exporters.measuring.kernels_library import kernel_path, library_path, why_missing
from wfpipe.exporters.measuring.platforms import platform_name
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.packaging.signing import read_signing_key
from wfpipe.exporters.reading.archive import read_archive, write_archive
from wfpipe.tests.cli.program import PROGRAM, environment, wfpipe
from wfpipe.tests.exporters.package_samples import golden_inputs, write_model
from wfpipe.tests.exporters.sparse_samples import make_sparse_package


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keys a and b, and a package signed with a."""
    folder = tmp_path_factory.mktemp("packages")
    for name in "ab":
        made = wfpipe("keygen", "--out", name, folder=folder)
        assert (made.returncode, made.stderr) == (0, "")
        assert f"public key:  {name}.pub.pem (SHA-256 " in made.stdout
    write_package(
        folder / "signed.zip",
        model=write_model(folder / "model.onnx"),
        golden_inputs=golden_inputs(),
        report=None,
        sign=read_signing_key(folder / "a.pem", "--sign"),
    )
    return folder


def test_a_key_is_secret_and_never_overwritten(folder: Path) -> None:
    before = (folder / "a.pem").read_bytes()
    assert stat.S_IMODE((folder / "a.pem").stat().st_mode) == 0o600
    again = wfpipe("keygen", "--out", "a", folder=folder)
    assert again.returncode == 2
    assert again.stderr.startswith("wfpipe: error: 'a.pub.pem' is there already")
    assert (folder / "a.pem").read_bytes() == before
    assert wfpipe("keygen", "--out", "x/", folder=folder).returncode == 2


def test_the_signature_is_checked_where_a_key_is_given(folder: Path) -> None:
    right = wfpipe("verify", "signed.zip", "--public-key", "a.pub.pem", folder=folder)
    assert (right.returncode, right.stderr) == (0, "")
    assert right.stdout.endswith("; its signature is right\n")
    unchecked = wfpipe("verify", "signed.zip", folder=folder)
    assert unchecked.returncode == 0
    assert "its signature was not checked" in unchecked.stdout
    wrong = wfpipe("verify", "signed.zip", "--public-key", "b.pub.pem", folder=folder)
    assert wrong.returncode == 3
    assert "signed with another key" in wrong.stderr


@pytest.mark.parametrize(
    ("member", "content", "words"),
    [
        ("manifest.sig", None, "is not signed"),
        ("infer.py", b"pass", "'infer.py' was changed"),
    ],
)
def test_another_package_than_the_signed_one_exits_3(
    folder: Path, tmp_path: Path, member: str, content: bytes | None, words: str
) -> None:
    members = read_archive(folder / "signed.zip")
    if content is None:
        del members[member]
    else:
        members[member] = content
    write_archive(tmp_path / "bad.zip", members)
    command = "verify" if content is None else "profile"
    done = wfpipe(command, tmp_path / "bad.zip", "--public-key", folder / "a.pub.pem")
    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_keys_that_cannot_be_used_are_bad_input(folder: Path) -> None:
    done = wfpipe("verify", "signed.zip", "--public-key", "a.pem", folder=folder)
    assert done.returncode == 2
    assert "is a private key" in done.stderr
    done = wfpipe("prune-and-export", "--out", "new", "--sign", "a.pub.pem", folder=folder)
    assert done.returncode == 2
    assert "--sign 'a.pub.pem' is a public key" in done.stderr
    assert not (folder / "new").exists()


@pytest.mark.skipif(library_path() is None, reason=why_missing())
def test_what_runs_on_sparse_kernels_says_on_which(tmp_path: Path) -> None:
    library = library_path()
    assert library is not None
    package, path = make_sparse_package(tmp_path), kernel_path(library)
    verified = wfpipe("verify", package)
    assert (verified.returncode, verified.stderr) == (0, "")
    assert f"sparse kernels, path {path} (" in verified.stdout
    assert f"it holds kernels for {platform_name()}, not run here" in verified.stdout
    profiled = wfpipe("profile", package, "--runs", 40, "--json")
    assert profiled.returncode == 0, profiled.stderr
    assert json.loads(profiled.stdout)["machine"]["kernels"] == path
    assert f", sparse kernels {path}\n" in profiled.stderr


def test_a_profile_is_the_baseline_of_the_next(folder: Path, tmp_path: Path) -> None:
    quick = [folder / "signed.zip", "--runs", 40]
    first = wfpipe("profile", *quick, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["schema"] == "wfpipe-profile/1"
    (tmp_path / "old.json").write_text(first.stdout)
    compared = wfpipe(
        "profile", *quick, "--baseline", tmp_path / "old.json", "--max-slowdown", 0.001
    )
    assert compared.returncode == 3
    assert compared.stderr.count("times as long, and 0.001 times is allowed") == 2
    assert "p50, batch 1 " in compared.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threads", "a"], "--threads must be whole numbers with commas, got 'a'"),
        (["--max-slowdown", "2"], "--max-slowdown needs --baseline"),
    ],
)
def test_bad_options_of_profile_are_named(folder: Path, arguments: list[str], words: str) -> None:
    done = wfpipe("profile", "signed.zip", *arguments, folder=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_several_numbers_of_threads_are_measured_side_by_side(folder: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    counts = [1, 2] if cores > 1 else [1]
    measured = wfpipe(
        "profile", "signed.zip", "--threads", ",".join(map(str, counts)), "--batch", "1,3",
        "--runs", 40, "--json", folder=folder,
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    found = json.loads(measured.stdout)["measured"]
    assert [entry["threads"] for entry in found] == counts
    assert all(list(entry["latency_ms"]) == ["1", "3"] for entry in found)
    assert all(entry["memory_bytes"] > 0 for entry in found)


def test_an_empty_key_is_not_the_same_as_none(folder: Path) -> None:
    """In a script, a variable that was never set would switch the check off."""
    for command in (["verify", "signed.zip"], ["profile", "signed.zip"]):
        result = wfpipe(*command, "--public-key", "", folder=folder)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == "wfpipe: error: Invalid value for '--public-key': it is empty\n"


def test_a_file_cannot_colour_or_move_what_is_shown(tmp_path: Path) -> None:
    header = b'{"\x1b[31mt":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.replace(
        b"\x1b", b"\\u001b"
    )
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    shown = wfpipe("inspect", "-v", "a.safetensors", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "\\x1b[31mt" in shown.stdout
    bad = header.replace(b"F32", b"\\u001b[31m")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(bad)) + bad + bytes(4))
    refused = wfpipe("inspect", "a.safetensors", folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.rstrip("\n").isprintable()


def test_nothing_is_left_at_home_and_nothing_is_told(tmp_path: Path) -> None:
    """ONNX Runtime keeps a database of models there, for its makers, unless told not to."""
    write_model(tmp_path / "model.onnx")
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run(
        [PROGRAM, "validate", "model.onnx", "--against", "model.onnx"],
        capture_output=True, text=True, cwd=tmp_path, env={**environment(), **places}, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr  # the digits are of another shape
    assert len(done.stderr.splitlines()) == 1
    assert list((tmp_path / "home").iterdir()) == []
    assert list((tmp_path / "temporary").iterdir()) == []
