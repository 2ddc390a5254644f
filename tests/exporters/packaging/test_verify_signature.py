"""Signed packages, and all the ways in which one can be another than the one that was signed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wfpipe.exporters.documents.manifest import SIGNATURE_FILE
from wfpipe.exporters.packaging.package import write_package
from wfpipe.exporters.packaging.signing import SigningKey
from wfpipe.exporters.packaging.verify import verify_package
from wfpipe.exporters.reading.archive import read_archive, write_archive
from wfpipe.support.errors import CheckFailed
from wfpipe.tests.exporters.package_samples import golden_inputs, repacked, write_model

Members = dict[str, bytes]
KEY, OTHER = (SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in (1, 2))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    package = folder / "package.zip"
    model = write_model(folder / "model.onnx")
    write_package(package, model=model, golden_inputs=golden_inputs(), report=None, sign=KEY)
    return package


def test_the_right_key_passes_and_the_result_says_so(signed: Path) -> None:
    result = verify_package(signed, KEY.public)
    assert result.signed == "checked"
    assert str(result).endswith("; its signature is right")


def test_without_a_key_it_is_said_that_the_signature_was_not_checked(signed: Path) -> None:
    result = verify_package(signed)
    assert result.signed == "not checked"
    assert "its signature was not checked: pass --public-key" in str(result)


def test_the_signature_is_over_the_manifest_as_it_lies_in_the_package(signed: Path) -> None:
    members = read_archive(signed)
    assert len(members[SIGNATURE_FILE]) == 64
    KEY.public.check(members["manifest.json"], members[SIGNATURE_FILE], "package")


def test_signing_twice_gives_the_same_bytes(signed: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.onnx")
    again = tmp_path / "package.zip"
    write_package(again, model=model, golden_inputs=golden_inputs(), report=None, sign=KEY)
    assert again.read_bytes() == signed.read_bytes()


def without(name: str) -> Callable[[Members], Members]:
    return lambda members: {key: value for key, value in members.items() if key != name}


def replaced(name: str, content: Callable[[bytes], bytes]) -> Callable[[Members], Members]:
    return lambda members: {**members, name: content(members.get(name, b""))}


def signed_by_another(members: Members) -> Members:
    return {**members, SIGNATURE_FILE: OTHER.signature(members["manifest.json"])}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without(SIGNATURE_FILE), "is not signed: it has no manifest.sig"),
        (signed_by_another, "it was signed with another key, or changed after it was signed"),
        (replaced(SIGNATURE_FILE, lambda raw: raw[:63]), "its signature has 63 bytes"),
        (replaced(SIGNATURE_FILE, lambda raw: b"\0" * 5000), "it is far too long"),
        (replaced(SIGNATURE_FILE, lambda raw: raw[::-1]), "its signature is not one by the key"),
        (replaced("manifest.json", lambda raw: raw + b"\n"), "its signature is not one by the key"),
        (replaced("manifest.json", lambda _: b"no JSON"), "its signature is not one by the key"),
        (replaced("model.onnx", lambda raw: raw + b"\0"), "'model.onnx' was changed"),
        (replaced("MODEL_CARD.md", lambda raw: raw + b"!"), "'MODEL_CARD.md' was changed"),
        (without("golden/inputs.npy"), "'golden/inputs.npy' is missing"),
        (without("MODEL_CARD.md"), "'MODEL_CARD.md' is missing"),
        (replaced("extra.py", lambda _: b"x"), "'extra.py' is extra: the manifest does not list"),
    ],
)
def test_a_package_that_is_not_the_signed_one_fails_with_its_own_words(
    signed: Path, tmp_path: Path, change: Callable[[Members], Members], words: str
) -> None:
    write_archive(tmp_path / "bad.zip", change(read_archive(signed)))
    with pytest.raises(CheckFailed) as caught:
        verify_package(tmp_path / "bad.zip", KEY.public)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_forged_manifest_that_fits_its_files_fails_too(signed: Path, tmp_path: Path) -> None:
    members = read_archive(signed)
    signature = members.pop(SIGNATURE_FILE)
    members["infer.py"] = b"print('forged')"
    forged = {**repacked(members), SIGNATURE_FILE: signature}
    write_archive(tmp_path / "forged.zip", forged)
    with pytest.raises(CheckFailed, match="is not one by the key"):
        verify_package(tmp_path / "forged.zip", KEY.public)
