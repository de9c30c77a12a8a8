"""Keys: what can sign, what is refused in words, and the key that is made at first use."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)

from pipeline.errors import InputError
from pipeline.release.keys import load_public_key, load_signing_key

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
WORKSPACE = Path(".mergegate/signing/key.pem")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own workspace, and no key of the user's."""
    monkeypatch.chdir(tmp_path)
    for name in ("MERGEGATE_SIGNING_KEY", "MERGEGATE_SIGNING_PASSWORD", "MERGEGATE_SIGNING"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write(key: Key, password: str = "", mode: int = 0o600) -> Path:
    """The key as a PEM file."""
    how = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    path = Path("given.pem")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    path.chmod(mode)
    return path


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_key_is_made_at_first_use_with_a_warning_and_for_its_owner_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = load_signing_key()
    assert "Whoever can read it can sign as you" in capsys.readouterr().err
    assert (WORKSPACE.stat().st_mode & 0o777, WORKSPACE.parent.stat().st_mode & 0o777) == (
        0o600,
        0o700,
    )
    assert load_signing_key().fingerprint == first.fingerprint
    assert capsys.readouterr().err == ""
    assert [path.name for path in WORKSPACE.parent.iterdir()] == ["key.pem"]


def test_processes_that_make_a_key_at_once_end_with_one() -> None:
    program = "from pipeline.release.keys import load_signing_key as l; print(l().fingerprint)"

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(run, range(6)))
    assert len({one.stdout for one in done}) == 1
    assert sum("made a signing key" in one.stderr for one in done) == 1
    assert [path.name for path in WORKSPACE.parent.iterdir()] == ["key.pem"]


def test_a_given_key_goes_before_that_of_the_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    key = p256()
    monkeypatch.setenv("MERGEGATE_SIGNING_KEY", str(write(key)))
    found = load_signing_key()
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found.fingerprint == hashlib.sha256(der).hexdigest()
    assert not WORKSPACE.exists()


def test_an_encrypted_key_opens_with_its_password_only(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(p256(), "correct horse")
    with pytest.raises(InputError, match="is encrypted"):
        load_signing_key(path)
    monkeypatch.setenv("MERGEGATE_SIGNING_PASSWORD", "wrong")
    with pytest.raises(InputError, match="password in MERGEGATE_SIGNING_PASSWORD is wrong"):
        load_signing_key(path)
    monkeypatch.setenv("MERGEGATE_SIGNING_PASSWORD", "correct horse")
    assert load_signing_key(path).algorithm == "ecdsa-p256-sha256"


def test_a_key_that_is_made_while_a_password_is_set_is_encrypted_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MERGEGATE_SIGNING_PASSWORD", "correct horse")
    load_signing_key()
    assert b"ENCRYPTED" in WORKSPACE.read_bytes()


def test_a_password_that_a_key_does_not_need_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEGATE_SIGNING_PASSWORD", "correct horse")
    assert load_signing_key(write(p256())).fingerprint


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rsa.generate_private_key(65537, 2048), "is not an elliptic-curve key"),
        (ed25519.Ed25519PrivateKey.generate, "is not an elliptic-curve key"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "is on the curve secp256k1"),
    ],
)
def test_a_key_of_another_kind_is_refused(make: Callable[[], Key], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_signing_key(write(make()))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\n", "holds a public key only"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (b"x" * 100_000, "at most 65536"),
    ],
)
def test_what_is_no_private_key_is_refused(content: bytes, words: str) -> None:
    Path("given.pem").write_bytes(content)
    Path("given.pem").chmod(0o600)
    with pytest.raises(InputError, match=words):
        load_signing_key(Path("given.pem"))


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o660])
def test_a_key_that_others_may_read_or_replace_is_refused(mode: int) -> None:
    with pytest.raises(InputError, match=r"chmod 600 given\.pem"):
        load_signing_key(write(p256(), mode=mode))


def test_a_named_key_that_is_missing_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERGEGATE_SIGNING_KEY", "nowhere.pem")
    with pytest.raises(InputError, match=r"nowhere\.pem: no such file"):
        load_signing_key()
    assert not Path("nowhere.pem").exists()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_a_signature_is_the_same_each_time_and_holds_for_its_data_only(
    curve: ec.EllipticCurve,
) -> None:
    key = load_signing_key(write(ec.generate_private_key(curve)))
    signature = key.sign(b"the release")
    assert signature == key.sign(b"the release")
    Path("pub.pem").write_bytes(key.public)
    public = load_public_key(Path("pub.pem"))
    assert public.fingerprint == key.fingerprint
    assert public.verifies(signature, b"the release")
    assert not public.verifies(signature, b"another release")


def test_the_public_key_of_a_private_one_is_found() -> None:
    key = load_signing_key()
    assert load_public_key(WORKSPACE).pem == key.public
    assert load_pem_public_key(key.public)


def test_openssl_prints_the_fingerprint() -> None:
    key = load_signing_key()
    command = ["openssl", "pkey", "-in", str(WORKSPACE), "-pubout", "-outform", "DER"]
    der = subprocess.run(command, capture_output=True, check=True, env=os.environ).stdout
    assert hashlib.sha256(der).hexdigest() == key.fingerprint


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def test_git_sees_nothing_of_the_workspace_folder_whatever_the_repository_ignores() -> None:
    git("init", "--quiet")
    load_signing_key()
    Path("params.yaml").write_text("name: x\n")
    git("add", ".")
    assert git("ls-files").split() == ["params.yaml"]


def test_a_key_that_git_tracks_is_refused() -> None:
    git("init", "--quiet")
    load_signing_key()
    git("add", "--force", str(WORKSPACE))
    with pytest.raises(InputError, match="git tracks this private key") as refused:
        load_signing_key()
    assert f"git rm --cached {WORKSPACE}" in str(refused.value)


def test_a_given_key_that_git_tracks_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "--quiet")
    monkeypatch.setenv("MERGEGATE_SIGNING_KEY", str(write(p256())))
    assert load_signing_key()
    git("add", "given.pem")
    with pytest.raises(InputError, match="git tracks this private key"):
        load_signing_key()
