from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from wfpipe.exporters.packaging.signing import (
    SigningKey,
    read_public_key,
    read_signing_key,
    write_key_pair,
)
from wfpipe.support.errors import CheckFailed, InputError


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    write_key_pair(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    return tmp_path / "a.pem", tmp_path / "a.pub.pem"


def test_a_signature_by_one_half_is_right_by_the_other(pair: tuple[Path, Path]) -> None:
    private, public = read_signing_key(pair[0], "--sign"), read_public_key(pair[1], "--public-key")
    signature = private.signature(b"manifest")
    assert signature == private.signature(b"manifest")
    public.check(b"manifest", signature, "package")
    assert public.fingerprint == private.public.fingerprint
    with pytest.raises(CheckFailed, match="another key, or changed after it was signed"):
        public.check(b"manifest.", signature, "package")
    with pytest.raises(CheckFailed, match="has 63 bytes"):
        public.check(b"manifest", signature[1:], "package")


def test_another_key_does_not_pass(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_key_pair(tmp_path / "b.pem", tmp_path / "b.pub.pem")
    signature = read_signing_key(pair[0], "--sign").signature(b"x")
    with pytest.raises(CheckFailed, match=f"not one by the key {other.fingerprint[:16]} over"):
        other.check(b"x", signature, "package")


def test_the_private_file_is_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_key_pair(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.pem").stat().st_mode) == 0o600
    assert (tmp_path / "a.pem").read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    assert (tmp_path / "a.pub.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----\n")


@pytest.mark.parametrize("there", ["a.pem", "a.pub.pem"])
def test_no_file_is_overwritten_and_none_is_left(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(InputError, match="never overwritten"):
        write_key_pair(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    assert [file.name for file in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="never overwritten"):
        write_key_pair(tmp_path / "a.pem", tmp_path / "a.pub.pem")
    assert not (tmp_path / "elsewhere").exists()


def private_pem(key: object, password: bytes | None = None) -> bytes:
    assert isinstance(key, rsa.RSAPrivateKey | Ed25519PrivateKey)
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


RSA = rsa.generate_private_key(65537, 1024)
EDWARDS = Ed25519PrivateKey.generate()
PUBLIC = EDWARDS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
RSA_PUBLIC = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (PUBLIC, "is a public key: signing takes the private one"),
        (private_pem(EDWARDS, b"secret"), "is locked with a password"),
        (private_pem(RSA), "is a key of another kind than Ed25519"),
        (b"hello", "is not a private key in PEM: make a pair with `wfpipe keygen"),
        (private_pem(EDWARDS)[:40], "is not a private key in PEM"),
        (b"", "is empty"),
        (b"x" * 100_000, "the limit is 65536 bytes"),
    ],
)
def test_what_is_no_private_key_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pem").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_signing_key(tmp_path / "a.pem", "--sign")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"--sign '{tmp_path / 'a.pem'}'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (private_pem(EDWARDS), "is a private key, which only its owner should have"),
        (RSA_PUBLIC, "is a key of another kind than Ed25519"),
        (b"hello", "is not a public key in PEM"),
    ],
)
def test_what_is_no_public_key_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pem").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_public_key(tmp_path / "a.pem", "--public-key")
    with pytest.raises(InputError, match="does not exist"):
        read_public_key(tmp_path / "none.pem", "--public-key")


def test_a_signature_equals_that_of_the_standard() -> None:
    """RFC 8032, section 7.1, test 2."""
    secret = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    wanted = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret)))
    assert key.signature(b"\x72").hex() == wanted


def test_openssl_agrees(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """What the documentation tells a device team without wfpipe to do; needs openssl 3."""
    (tmp_path / "manifest.json").write_bytes(b"{}")
    (tmp_path / "manifest.sig").write_bytes(read_signing_key(pair[0], "--sign").signature(b"{}"))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(pair[1]), "-rawin",
               "-in", "manifest.json", "-sigfile", "manifest.sig"]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert "Signature Verified Successfully" in done.stdout
