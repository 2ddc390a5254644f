"""Signatures of packages: Ed25519 (RFC 8032) over the bytes of the manifest.

The manifest holds the digest of every other file, so a signature of it is one of the package.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...support.errors import CheckFailed, InputError
from ...support.files import cannot_write, read_bytes

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

SIGNATURE_BYTES = 64
MAX_KEY_BYTES = 1 << 16
_MAKE_ONE = "make a pair with `wfpipe keygen --out NAME`"


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are checked with."""

    key: Ed25519PublicKey

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key in DER, in hex, as ``openssl pkey -pubin -outform DER`` writes it."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        raw = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(raw).hexdigest()

    def check(self, content: bytes, signature: bytes, what: str) -> None:
        """Check that ``signature`` was made over ``content`` with the private key to this one.

        Raises:
            CheckFailed: when it was not.
        """
        from cryptography.exceptions import InvalidSignature

        if len(signature) != SIGNATURE_BYTES:
            raise CheckFailed(
                f"{what}: its signature has {len(signature)} bytes, one by Ed25519 has "
                f"{SIGNATURE_BYTES}"
            )
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            raise CheckFailed(
                f"{what}: its signature is not one by the key {self.fingerprint[:16]} over its "
                "manifest: it was signed with another key, or changed after it was signed"
            ) from None


@dataclass(frozen=True)
class SigningKey:
    """A private key that packages are signed with."""

    key: Ed25519PrivateKey

    @property
    def public(self) -> PublicKey:
        """The key that others check with."""
        return PublicKey(self.key.public_key())

    def signature(self, content: bytes) -> bytes:
        """Return the signature, 64 bytes; the same for the same content."""
        return self.key.sign(content)


def read_signing_key(path: Path, flag: str) -> SigningKey:
    """Read a private Ed25519 key in PEM, without a password.

    Args:
        path: the file.
        flag: the option that named it, for the error.

    Raises:
        InputError: when it is missing or holds anything else.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    what = f"{flag} {str(path)!r}"
    raw = read_bytes(path, flag, limit=MAX_KEY_BYTES)
    if b"-----BEGIN PUBLIC KEY-----" in raw:
        raise InputError(f"{what} is a public key: signing takes the private one")
    key = _parsed(lambda: load_pem_private_key(raw, password=None), what, "a private key")
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{what} is a key of another kind than Ed25519: {_MAKE_ONE}")
    return SigningKey(key)


def read_public_key(path: Path, flag: str) -> PublicKey:
    """Read a public Ed25519 key in PEM.

    Args:
        path: the file.
        flag: the option that named it, for the error.

    Raises:
        InputError: when it is missing or holds anything else.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    what = f"{flag} {str(path)!r}"
    raw = read_bytes(path, flag, limit=MAX_KEY_BYTES)
    if b"PRIVATE KEY-----" in raw:
        raise InputError(f"{what} is a private key, which only its owner should have: pass the "
                         "public one")  # fmt: skip
    key = _parsed(lambda: load_pem_public_key(raw), what, "a public key")
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{what} is a key of another kind than Ed25519: {_MAKE_ONE}")
    return PublicKey(key)


def _parsed(parse: Callable[[], object], what: str, kind: str) -> object:
    """Return what a parser of keys makes of a file, with one line for what it cannot read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return parse()
    except TypeError:
        raise InputError(f"{what} is locked with a password: signing takes one without") from None
    except Exception:  # the parser's errors have no common base but this
        raise InputError(f"{what} is not {kind} in PEM: {_MAKE_ONE}") from None


def write_key_pair(private: Path, public: Path) -> PublicKey:
    """Make a new key and write both halves in PEM; the private file is for its owner alone.

    Raises:
        InputError: when a file is there already, or cannot be written; then neither is written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = SigningKey(Ed25519PrivateKey.generate())
    secret = key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shared = key.public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _create(public, shared, 0o644)
    try:
        _create(private, secret, 0o600)
    except BaseException:
        public.unlink(missing_ok=True)
        raise
    return key.public


def _create(path: Path, content: bytes, mode: int) -> None:
    """Write a file that must not be there yet, with its permissions from the first moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise InputError(
            f"{str(path)!r} is there already, and a key is never overwritten: pass another name"
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise cannot_write(path, error) from None
