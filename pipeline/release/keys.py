"""The keys that sign a release: an elliptic-curve key that is given, or one made at first use.

A signature says that whoever could read the private key signed these bytes; it says no more than that.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pipeline.errors import InputError
from pipeline.files import read_file
from pipeline.private import private_folder

KEY_VARIABLE, PASSWORD_VARIABLE = "MERGEGATE_SIGNING_KEY", "MERGEGATE_SIGNING_PASSWORD"
WORKSPACE_KEY = Path(".mergegate/signing/key.pem")
_MOST = 64 * 1024  # bytes of a PEM file
# The curves that model signatures know, each with the hash that goes with it.
_CURVES: dict[str, tuple[str, type[hashes.HashAlgorithm]]] = {
    "secp256r1": ("ecdsa-p256-sha256", hashes.SHA256),
    "secp384r1": ("ecdsa-p384-sha384", hashes.SHA384),
    "secp521r1": ("ecdsa-p521-sha512", hashes.SHA512),
}
_MAKE = "Make one with `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`."


@dataclass(frozen=True)
class PublicKey:
    """A public key on P-256, P-384 or P-521.

    `pem` is its PEM SubjectPublicKeyInfo; `fingerprint` the SHA-256 (hex) of the same as DER, which
    `openssl pkey -pubin -in signing.pub -outform DER | sha256sum` prints.
    """

    key: ec.EllipticCurvePublicKey = field(repr=False, compare=False)
    pem: bytes
    fingerprint: str

    @classmethod
    def of(cls, key: ec.EllipticCurvePublicKey) -> PublicKey:
        """Its encodings and its fingerprint."""
        spki = PublicFormat.SubjectPublicKeyInfo
        der = key.public_bytes(Encoding.DER, spki)
        return cls(key, key.public_bytes(Encoding.PEM, spki), hashlib.sha256(der).hexdigest())

    @property
    def algorithm(self) -> str:
        """Curve and hash, such as `ecdsa-p256-sha256`."""
        return _CURVES[self.key.curve.name][0]

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether `signature` (DER) is of this key over `data`."""
        try:
            self.key.verify(signature, data, ec.ECDSA(_CURVES[self.key.curve.name][1]()))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A private key with its public one; `public` is PEM, `fingerprint` as of `PublicKey`."""

    private: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)
    public: bytes
    fingerprint: str
    algorithm: str

    @classmethod
    def of(cls, private: ec.EllipticCurvePrivateKey) -> SigningKey:
        """A key of a curve that signatures know."""
        public = PublicKey.of(private.public_key())
        return cls(private, public.pem, public.fingerprint, public.algorithm)

    def sign(self, data: bytes) -> bytes:
        """The signature (DER) over `data`: with the same key the same bytes every time (RFC 6979)."""
        name = self.private.curve.name
        return self.private.sign(data, _deterministic(_CURVES[name][1]()))


def load_signing_key(path: Path | None = None) -> SigningKey:
    """The private key at `path`, else where MERGEGATE_SIGNING_KEY says, else the workspace's own.

    The password of an encrypted key is in MERGEGATE_SIGNING_PASSWORD. The workspace's own,
    .mergegate/signing/key.pem, is made where there is none yet, with a warning on standard error.
    Raises InputError for what is no private key on P-256, P-384 or P-521, for a wrong password, for a file that
    others may read, and for one that git tracks.
    """
    given = os.environ.get(KEY_VARIABLE)
    if path is None and given:
        path = Path(given)
    if path is None:
        path = WORKSPACE_KEY
        if not path.exists() and _make(path):
            sys.stderr.write(_worth(path))
    raw = read_file(path, _MOST, "a key")
    _check_rights(path)
    _check_untracked(path)
    return SigningKey.of(_private(raw, path))


def load_public_key(path: Path) -> PublicKey:
    """The public key at `path`, or that of a private key there. Raises InputError for anything else."""
    raw = read_file(path, _MOST, "a key")
    if b"PRIVATE KEY" in raw:
        return PublicKey.of(_private(raw, path).public_key())
    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(
            f"{path}: holds no public key in PEM. Name the signer's public key, a file that begins "
            "with «-----BEGIN PUBLIC KEY-----»."
        ) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise InputError(f"{path}: {_kind(key)}; releases are signed on P-256, P-384 or P-521.")
    return PublicKey.of(key)


def _private(raw: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    if b"PRIVATE KEY" not in raw:
        what = "a public key only" if b"PUBLIC KEY" in raw else "no key in PEM"
        raise InputError(f"{path}: holds {what}; signing needs the private key. {_MAKE}")
    password = os.environ.get(PASSWORD_VARIABLE)
    try:
        key = load_pem_private_key(raw, password.encode() if password else None)
    except TypeError:  # encrypted and no password, or the other way round
        if password:  # one that the key does not need
            return _unencrypted(raw, path)
        raise InputError(
            f"{path}: is encrypted. Put its password into {PASSWORD_VARIABLE}."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(
            f"{path}: cannot be read as a private key: the password in {PASSWORD_VARIABLE} is wrong, "
            f"or the file is damaged. {_MAKE}"
        ) from None
    return _elliptic(key, path)


def _unencrypted(raw: bytes, path: Path) -> ec.EllipticCurvePrivateKey:
    return _elliptic(load_pem_private_key(raw, None), path)


def _elliptic(key: object, path: Path) -> ec.EllipticCurvePrivateKey:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    raise InputError(f"{path}: {_kind(key)}; releases are signed on P-256, P-384 or P-521. {_MAKE}")


def _kind(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey):
        return f"is on the curve {key.curve.name}"
    return "is not an elliptic-curve key"


def _check_rights(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise InputError(
            f"{path}: other users may read or replace it (mode {mode:04o}), so its signature would say "
            f"nothing. Run `chmod 600 {path}`; if others could read it, make another key."
        )


def _check_untracked(path: Path) -> None:
    """Raise InputError where git tracks the key: whoever has a clone could sign with it."""
    try:
        found = subprocess.run(
            ["git", "ls-files", "--error-unmatch", "--", path.name],
            cwd=path.parent,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:  # without git nothing is tracked
        return
    if found.returncode == 0:
        raise InputError(
            f"{path}: git tracks this private key, so everyone with a clone could sign releases. Run "
            f"`git rm --cached {path}`; if it was ever pushed, delete it, so that another key is made."
        )


def _make(path: Path) -> bool:
    """Write a new key; False where another process has written one in the meantime."""
    private_folder(path.parent, 0o700)
    path.parent.chmod(0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_pem(ec.generate_private_key(ec.SECP256R1())))
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(part)  # unlike a rename, it never replaces what is there
        except FileExistsError:
            return False
        return True
    finally:
        part.unlink()


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    password = os.environ.get(PASSWORD_VARIABLE)
    how: KeySerializationEncryption = NoEncryption()
    if password:
        how = BestAvailableEncryption(password.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def _worth(path: Path) -> str:
    return (
        f"mergegate: made a signing key, {path}. Whoever can read it can sign as you. Keep it; git "
        "ignores its folder. Give the public key (signing.pub of a release) to those who verify. Where "
        f"releases are made by CI, give it a key of its own through {KEY_VARIABLE}.\n"
    )


def _deterministic(algorithm: hashes.HashAlgorithm) -> ec.ECDSA:
    try:
        return ec.ECDSA(algorithm, deterministic_signing=True)
    except (
        UnsupportedAlgorithm
    ):  # OpenSSL before 3.2: signatures differ each time, and hold all the same
        return ec.ECDSA(algorithm)
