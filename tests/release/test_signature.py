"""The signature: what it covers, what changes it, and that the public client accepts it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import digest_file
from pipeline.release.keys import SigningKey
from pipeline.release.signature import sign, signature_faults


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.of(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def signed(tmp_path: Path, key: SigningKey) -> Path:
    """A signed folder with files at two levels and a hidden one."""
    folder = tmp_path / "release"
    (folder / "evals").mkdir(parents=True)
    for name in ("README.md", "release.json", "evals/base.json", "evals.json", ".hidden"):
        (folder / name).write_text(f"content of {name}")
    (folder / "signing.pub").write_bytes(key.public)
    sign(folder, key)
    return folder


def client(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`model_signing verify key`, as an auditor without mergegate runs it."""
    tool = Path(sys.executable).parent / "model_signing"
    command = [str(tool), "verify", "key", str(folder), "--signature", str(folder / "model.sig")]
    command += ["--public_key", str(folder / "signing.pub"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_signed_folder_is_sound_and_its_signer_known(signed: Path, key: SigningKey) -> None:
    assert signature_faults(signed) == (key.fingerprint, [])


def test_the_public_client_accepts_the_folder(signed: Path) -> None:
    done = client(signed)
    assert (done.returncode, "Verification succeeded" in done.stdout) == (0, True), done.stderr


def test_the_public_client_finds_a_changed_file(signed: Path) -> None:
    (signed / "README.md").write_text("changed")
    assert client(signed).returncode != 0


def test_the_public_library_accepts_it_without_being_told_how_it_was_hashed(signed: Path) -> None:
    config = verifying.Config().use_elliptic_key_verifier(public_key=signed / "signing.pub")
    config.verify(signed, signed / "model.sig")


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_the_public_library_accepts_the_other_curves(signed: Path, curve: ec.EllipticCurve) -> None:
    key = SigningKey.of(ec.generate_private_key(curve))
    (signed / "signing.pub").write_bytes(key.public)
    sign(signed, key)
    config = verifying.Config().use_elliptic_key_verifier(public_key=signed / "signing.pub")
    config.verify(signed, signed / "model.sig")
    assert signature_faults(signed)[1] == []


def test_the_same_files_and_key_give_the_same_signature(signed: Path, key: SigningKey) -> None:
    first = (signed / "model.sig").read_bytes()
    sign(signed, key)
    assert (signed / "model.sig").read_bytes() == first


def test_digests_that_are_known_are_not_computed_again(
    signed: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (signed / "model.sig").read_bytes()
    read: list[Path] = []

    def reading(path: Path) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr("pipeline.release.signature.digest_file", reading)
    known = {"README.md": digest_file(signed / "README.md"), "not/there": "0" * 64}
    sign(signed, key, known=known)
    assert (signed / "model.sig").read_bytes() == first
    assert signed / "README.md" not in read
    assert signed / "release.json" in read


@pytest.mark.parametrize(
    "name", ["README.md", "release.json", "evals/base.json", ".hidden", "signing.pub"]
)
def test_one_flipped_byte_in_any_file_is_found_and_the_file_named(signed: Path, name: str) -> None:
    content = bytearray((signed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (signed / name).write_bytes(content)
    assert [fault.split(":")[0] for fault in signature_faults(signed)[1]] == [name]


def test_any_flipped_byte_of_the_signature_is_found(signed: Path) -> None:
    content = (signed / "model.sig").read_bytes()
    for at in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[at] ^= 1
        (signed / "model.sig").write_bytes(flipped)
        assert signature_faults(signed)[1], at


@pytest.mark.parametrize("name", ["more.txt", "evals/more.json", ".git/config", "a/b/.c"])
def test_a_file_that_was_added_is_found(signed: Path, name: str) -> None:
    (signed / name).parent.mkdir(parents=True, exist_ok=True)
    (signed / name).write_text("mine")
    assert signature_faults(signed)[1] == [f"{name}: was not signed"]


@pytest.mark.parametrize("name", ["README.md", "evals/base.json"])
def test_a_file_that_was_removed_is_found(signed: Path, name: str) -> None:
    (signed / name).unlink()
    assert signature_faults(signed)[1] == [f"{name}: is missing, and was signed"]


@pytest.mark.parametrize("name", ["model.sig", "signing.pub"])
def test_without_signature_or_key_nothing_is_shown(signed: Path, name: str) -> None:
    (signed / name).unlink()
    fingerprint, faults = signature_faults(signed)
    assert fingerprint == ""
    assert faults[0].startswith(f"{name}: no such file")


def test_a_forger_s_own_pair_is_found_where_the_trusted_key_is_known(
    signed: Path, key: SigningKey, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(key.public)
    assert signature_faults(signed, trusted)[1] == []
    forger = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    (signed / "README.md").write_text("forged")
    (signed / "signing.pub").write_bytes(forger.public)
    sign(signed, forger)
    assert signature_faults(signed)[1] == []
    fingerprint, faults = signature_faults(signed, trusted)
    assert fingerprint == forger.fingerprint
    assert faults == [
        f"signing.pub: fingerprint: {forger.fingerprint}; the trusted key is {key.fingerprint}"
    ]


def test_a_trusted_key_that_is_none_is_refused(signed: Path) -> None:
    with pytest.raises(InputError, match="holds no public key"):
        signature_faults(signed, signed / "README.md")


def test_a_signature_that_leaves_out_files_is_refused(signed: Path, key: SigningKey) -> None:
    """The public client believes a signature about what to ignore; a release signs everything."""
    from pipeline.release import dsse

    bundle = json.loads((signed / "model.sig").read_text())
    statement = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["serialization"]["ignore_paths"] = ["model.sig", "README.md"]
    bundle["dsseEnvelope"] = dsse.envelope(statement, key, keyid="")
    (signed / "model.sig").write_text(json.dumps(bundle))
    assert signature_faults(signed)[1] == ["model.sig: predicate: is not that of a release"]


def _payload(bundle: dict[str, dict[str, str]]) -> None:
    payload = json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))
    payload["subject"][0]["name"] = "another"
    bundle["dsseEnvelope"]["payload"] = b64encode(json.dumps(payload).encode()).decode()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda b: b.update(mediaType="text/plain"), "mediaType"),
        (lambda b: b["verificationMaterial"].update(publicKey={}), "verificationMaterial"),
        (lambda b: b["dsseEnvelope"].update(payloadType="text/plain"), "payloadType"),
        (lambda b: b["dsseEnvelope"].update(signatures=[]), "signatures"),
        (lambda b: b["dsseEnvelope"].update(payload="?"), "payload"),
        (lambda b: b.pop("dsseEnvelope"), "dsseEnvelope: more, or missing"),
        (lambda b: b.update(more={}), "more: more, or missing"),
        (lambda b: b["dsseEnvelope"].update(more=""), "more: more, or missing"),
        (lambda b: None, "is not in the form"),  # only the white space differs
        (_payload, "signatures"),
    ],
)
def test_a_changed_field_of_the_signature_is_named(
    signed: Path, change: Callable[[dict[str, dict[str, str]]], None], named: str
) -> None:
    bundle = json.loads((signed / "model.sig").read_text())
    change(bundle)
    (signed / "model.sig").write_text(json.dumps(bundle))
    (fault,) = signature_faults(signed)[1]
    assert fault.startswith(f"model.sig: {named}")


@pytest.mark.parametrize("content", ["", "[]", "{" * 100_000, '{"a": NaN}'])
def test_a_signature_that_is_no_json_is_told_in_words(signed: Path, content: str) -> None:
    (signed / "model.sig").write_text(content)
    (fault,) = signature_faults(signed)[1]
    assert fault.startswith("model.sig: ")


@pytest.fixture
def linked(signed: Path, tmp_path: Path) -> Path:
    """The same folder, each file a link into a cache, as DVC may keep it."""
    cache, folder = tmp_path / "cache", tmp_path / "linked"
    shutil.copytree(signed, cache)
    for path in cache.rglob("*"):
        link = folder / path.relative_to(cache)
        if path.is_dir():
            link.mkdir(parents=True)
        else:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    return folder


def test_links_into_a_cache_verify_and_sign_like_files(linked: Path, key: SigningKey) -> None:
    assert signature_faults(linked)[1] == []
    before = (linked / "model.sig").read_bytes()
    (linked / "model.sig").unlink()
    sign(linked, key)
    assert (linked / "model.sig").read_bytes() == before
    (linked / "added.txt").write_text("mine")
    assert signature_faults(linked)[1] == ["added.txt: was not signed"]


def test_the_public_client_accepts_links_where_it_is_told_to(linked: Path) -> None:
    assert client(linked, "--allow_symlinks").returncode == 0
    assert client(linked).returncode != 0


def test_a_link_to_a_folder_and_a_pipe_are_refused(signed: Path, key: SigningKey) -> None:
    (signed / "more").symlink_to(signed / "evals")
    assert signature_faults(signed)[1][0].startswith("more: is no regular file")
    with pytest.raises(InputError, match="is no regular file"):
        sign(signed, key)


@pytest.mark.parametrize(
    ("token", "words"),
    [("a token", "ConnectionError: no route to host"), (None, "LookupError: no identity token")],
)
def test_sigstore_without_a_network_or_an_identity_fails_in_words(
    signed: Path,
    key: SigningKey,
    token: str | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MERGEGATE_SIGNING", "sigstore")

    def fails(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: token)
    monkeypatch.setattr("model_signing.signing.Config.use_sigstore_signer", fails)
    with pytest.raises(EnvironmentFault, match=f"Sigstore did not sign .{words}"):
        sign(signed, key)


def test_another_way_of_signing_is_refused(
    signed: Path, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGEGATE_SIGNING", "pgp")
    with pytest.raises(InputError, match="must be key or sigstore"):
        sign(signed, key)


def test_a_signature_by_an_identity_shows_nothing_until_one_is_trusted(signed: Path) -> None:
    bundle = json.loads((signed / "model.sig").read_text())
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}}
    (signed / "model.sig").write_text(json.dumps(bundle))
    fingerprint, faults = signature_faults(signed)
    assert fingerprint == ""
    assert "MERGEGATE_SIGSTORE_IDENTITY" in faults[0]
