"""Whose key signed a release, and folders that were written to deceive."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stored_workspace
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from stored_workspace import load, write_workspace
from test_verify import run_stages
from typer.testing import CliRunner

from flows.cli import app
from flows.verify import verify
from flows.verify.result import MAX_BYTES
from pipeline.errors import InputError
from pipeline.facts import digest_file, write_json
from pipeline.release.bom import render_bom
from pipeline.release.keys import SigningKey
from pipeline.release.provenance import write_provenance
from pipeline.release.record import with_digests
from pipeline.release.signature import sign

ATTESTED = ("signing.pub", "model.sig", "provenance.intoto.json", "bom.cdx.json")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose candidate is promoted and signed with the workspace's own key."""
    folder = tmp_path_factory.mktemp("signed")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MERGEGATE_SIGNING_KEY", raising=False)
        patch.setattr(stored_workspace, "N", 40)
        write_workspace(folder)
        run_stages(folder)
    return folder


@pytest.fixture
def release(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the release at the desk of an auditor, who trusts no key yet."""
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    monkeypatch.delenv("MERGEGATE_SIGNING_KEY", raising=False)
    return Path(shutil.copytree(workspace / "build" / "tuned" / "release", tmp_path / "release"))


@pytest.fixture
def trusted(release: Path, tmp_path: Path) -> Path:
    """The signer's public key, as the auditor was given it."""
    return Path(shutil.copy(release / "signing.pub", tmp_path / "signer.pem"))


def forged(folder: Path) -> str:
    """Change the picture, of which nothing tells, and sign all anew with another key; its fingerprint."""
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    (folder / "heatmap.png").write_text("another picture", encoding="utf-8")
    (folder / "signing.pub").write_bytes(key.public)
    record = load(folder / "release.json")
    page, known = (folder / "report.html").read_text(encoding="utf-8"), fingerprint_of(folder)
    (folder / "report.html").write_text(page.replace(known, key.fingerprint), encoding="utf-8")
    record["signing"]["fingerprint"] = key.fingerprint
    write_json(folder / "bom.cdx.json", render_bom(record))
    record["files"] = {name: digest_file(folder / name) for name in record["files"]}
    record = with_digests(record)
    write_json(folder / "release.json", record)
    write_provenance(folder, record, key)
    sign(folder, key)
    return key.fingerprint


# Whose key


def test_without_a_trusted_key_the_report_says_what_the_signature_is_worth(release: Path) -> None:
    found = verify(release)
    assert (found.exit_code, found.signed_by) == (0, fingerprint_of(release))
    assert (
        f"Signed by {found.signed_by[:12]}…; nothing says whose key that is. "
        "Name one you trust with --key."
    ) in found.notes


def fingerprint_of(release: Path) -> str:
    fingerprint: str = load(release / "release.json")["signing"]["fingerprint"]
    return fingerprint


def test_the_key_that_is_named_is_the_one_that_is_trusted(release: Path, trusted: Path) -> None:
    found = verify(release, key=trusted)
    assert found.faults == ()
    assert not any("nothing says whose key" in note for note in found.notes)
    assert any("by a key that is trusted here" in line for line in found.checked)


@pytest.mark.parametrize("place", ["key.pem", "trusted/team.pem"])
def test_the_keys_of_the_workspace_are_trusted(
    workspace: Path, release: Path, trusted: Path, place: str
) -> None:
    path = Path(".mergegate/signing") / place
    path.parent.mkdir(parents=True)
    own = workspace / ".mergegate" / "signing" / "key.pem"
    shutil.copy(own if place == "key.pem" else trusted, path)
    found = verify(release)
    assert found.faults == ()
    assert any("by a key that is trusted here" in line for line in found.checked)


def test_the_key_that_signs_by_the_environment_is_trusted(
    workspace: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = workspace / ".mergegate" / "signing" / "key.pem"
    monkeypatch.setenv("MERGEGATE_SIGNING_KEY", str(own))
    assert any("by a key that is trusted here" in line for line in verify(release).checked)


def test_a_folder_signed_anew_by_a_forger_is_found_where_the_signer_is_known(
    release: Path, trusted: Path
) -> None:
    forger = forged(release)
    found = verify(release, key=trusted)
    assert (found.exit_code, found.signed_by) == (2, "")
    assert any(f.startswith(f"signing.pub: the key {forger[:12]}… is not") for f in found.faults)
    (Path(".mergegate/signing/trusted")).mkdir(parents=True)
    shutil.copy(trusted, ".mergegate/signing/trusted/team.pem")
    assert verify(release).exit_code == 2
    # Only somebody who knows the signer can tell: that is what the note says.
    shutil.rmtree(".mergegate")
    found = verify(release)
    assert (found.faults, found.signed_by) == ((), forger)
    assert any("nothing says whose key that is" in note for note in found.notes)


def test_a_signature_of_another_key_beside_the_signer_s_own_key_is_found(
    release: Path, trusted: Path
) -> None:
    sign(release, SigningKey.of(ec.generate_private_key(ec.SECP256R1())))
    for key in (None, trusted):
        assert any(f.startswith("model.sig: ") for f in verify(release, key=key).faults)


def test_provenance_of_another_key_is_found_whatever_signs_the_folder(
    release: Path, trusted: Path
) -> None:
    record = load(release / "release.json")
    write_provenance(release, record, SigningKey.of(ec.generate_private_key(ec.SECP256R1())))
    faults = verify(release, key=trusted).faults
    assert any(f.startswith("provenance.intoto.json: ") for f in faults), faults


@pytest.mark.parametrize("name", ATTESTED)
def test_a_release_of_the_third_schema_without_an_attestation_is_a_fault(
    release: Path, name: str
) -> None:
    (release / name).unlink()
    assert f"{name}: is missing" in verify(release).faults


@pytest.mark.parametrize("name", [".hidden", "sub/deep/file", "evals/more.json", "model.sig.1"])
def test_a_file_that_the_record_lists_too_is_still_one_that_nobody_signed(
    release: Path, name: str
) -> None:
    (release / name).parent.mkdir(parents=True, exist_ok=True)
    (release / name).write_text("{}")
    record = load(release / "release.json")
    record["files"][name] = digest_file(release / name)
    write_json(release / "release.json", with_digests(record))
    assert f"{name}: was not signed" in verify(release).faults


def test_a_release_dressed_as_one_from_before_signatures_is_told_or_found(
    release: Path, trusted: Path
) -> None:
    record = {**load(release / "release.json"), "schema": 2}
    write_json(release / "release.json", with_digests(record))
    assert any("was not signed" in f for f in verify(release).faults)
    for name in ATTESTED:
        (release / name).unlink()
        record["files"].pop(name, None)
    write_json(release / "release.json", with_digests(record))
    found = verify(release)
    assert any(note.startswith("Schema 2 is not signed") for note in found.notes)
    assert verify(release, key=trusted).exit_code == 2


def test_files_that_are_links_into_a_cache_verify(release: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted(p for p in release.rglob("*") if p.is_file())):
        path.rename(tmp_path / str(number))
        path.symlink_to(tmp_path / str(number))
    assert verify(release).faults == ()
    (tmp_path / "0").write_text("other")
    assert verify(release).exit_code == 2


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff" * 100, "rsa"])
def test_what_is_no_key_to_trust_is_refused_in_words(
    release: Path, tmp_path: Path, content: bytes | str
) -> None:
    path = tmp_path / "key.pem"
    if content == "rsa":
        key = rsa.generate_private_key(65537, 2048).public_key()
        content = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(content, bytes)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"key\.pem: "):
        verify(release, key=path)
    path.unlink()
    with pytest.raises(InputError, match=r"key\.pem"):
        verify(release, key=path)


def test_a_private_key_stands_for_its_public_one(release: Path, tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    raw = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "other.pem").write_bytes(raw)
    assert verify(release, key=tmp_path / "other.pem").exit_code == 2


# Folders that were written to deceive, or to stop the reader


def both_ways(release: Path) -> tuple[str, dict[str, Any]]:
    """The report as the command prints it, and as JSON; a traceback fails the test."""
    shown = CliRunner().invoke(app, ["verify", str(release)])
    report = CliRunner().invoke(app, ["verify", str(release), "--json"])
    for done in (shown, report):
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.exit_code == 2, done.output
    found: dict[str, Any] = json.loads(report.stdout)
    return shown.stdout, found


JSONS = ("release.json", "policy.json", "verdict.json", "evals/merged.json", "quantize.json")


@pytest.mark.parametrize("name", [*JSONS, *ATTESTED, "README.md"])
def test_a_file_of_gigabytes_is_not_read(release: Path, name: str) -> None:
    with (release / name).open("r+b") as file:
        file.truncate(50 * MAX_BYTES)  # a hole: it takes no room
    shown, found = both_ways(release)
    assert found["faults"][0].startswith(f"{name}: has {50 * MAX_BYTES:,} bytes")
    assert "nothing was read" in shown


@pytest.mark.parametrize("name", [*JSONS, *ATTESTED])
@pytest.mark.parametrize(
    "content",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        "1" * 10_000,
        '{"schema": 1e999}',
        '"\\ud800"',
        "\x00\x1b[2J",
    ],
    ids=["lists", "mappings", "digits", "infinite", "surrogate", "control"],
)
def test_what_is_nested_endless_or_no_text_is_told_in_words(
    release: Path, name: str, content: str
) -> None:
    (release / name).write_text(content)
    shown, found = both_ways(release)
    assert any(fault.startswith((name, "release.json")) for fault in found["faults"])
    assert "\x1b" not in shown


def to_outside(release: Path, name: str) -> None:
    (release.parent / "outside").write_text("secret")
    replace(release / name).symlink_to(release.parent / "outside")


def to_a_device(release: Path, name: str) -> None:
    replace(release / name).symlink_to("/dev/zero")


def to_itself(release: Path, name: str) -> None:
    replace(release / name).symlink_to(name)


def as_a_pipe(release: Path, name: str) -> None:
    os.mkfifo(replace(release / name))


def as_a_folder(release: Path, name: str) -> None:
    replace(release / name).mkdir()


def replace(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.parametrize("name", ["README.md", "policy.json", *ATTESTED])
@pytest.mark.parametrize("how", [to_outside, to_a_device, to_itself, as_a_pipe, as_a_folder])
def test_what_stands_in_a_file_s_place_is_named(
    release: Path, name: str, how: Callable[[Path, str], None]
) -> None:
    how(release, name)
    shown, found = both_ways(release)
    assert any(fault.startswith(f"{name}: ") for fault in found["faults"])
    assert "secret" not in shown


def test_a_link_to_the_folder_itself_is_not_followed(release: Path) -> None:
    (release / "evals" / "again").symlink_to(release)
    assert "evals/again: is no part of the release" in verify(release).faults


@pytest.mark.parametrize(
    "name",
    ["../outside", "/etc/passwd", "evals/../../x", "a\nb", "\x1b[2J", "\ud800", "x" * 5000, "\x00"],
)
def test_a_name_that_leads_elsewhere_or_cannot_be_printed_is_told(release: Path, name: str) -> None:
    record = load(release / "release.json")
    record["files"][name] = "0" * 64
    (release / "release.json").write_text(json.dumps(record))
    shown, found = both_ways(release)
    assert found["sound"] is False
    assert "\x1b" not in shown


@pytest.mark.parametrize("field", ["identity", "comparison", "rollback", "signing", "environment"])
@pytest.mark.parametrize("inner", [None, [], 7, "x", [[]], {"versions": []}, {"rows": [["a"]]}])
def test_a_record_of_another_shape_is_told_in_words(release: Path, field: str, inner: Any) -> None:
    record = {**load(release / "release.json"), field: inner}
    write_json(release / "release.json", with_digests(record))
    both_ways(release)
