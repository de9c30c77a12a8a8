"""The OpenSSF model signature of a release folder: model.sig, over every file but itself.

The format is that of model-signing 1.x (a Sigstore bundle with a DSSE envelope around an in-toto
statement), so `model_signing verify key` accepts the folder. It is written here rather than by that
library because its signatures differ each time, which would make one release two folders, and because
it would read every file again; Sigstore's signatures are the library's own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_file, json_text, write_text
from pipeline.release import dsse, sigstore
from pipeline.release.keys import PublicKey, SigningKey, load_public_key
from pipeline.sources.folders import read_object

SIGNATURE, PUBLIC_KEY = "model.sig", "signing.pub"
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
# DVC may keep outputs as links into its cache; what is signed is the content.
_SERIALIZATION: dict[str, Any] = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": True,
    "ignore_paths": [SIGNATURE],
}


def sign(
    folder: Path, key: SigningKey, *, name: str = "release", known: Mapping[str, str] | None = None
) -> None:
    """Write model.sig over every file in `folder`, which are all it may hold when it is verified.

    `name` of the model is only told. `known`: SHA-256 of files by path, which are not read again.
    With MERGEGATE_SIGNING=sigstore Sigstore signs instead of `key`; see `sigstore.sign`. Raises
    InputError for a link to a folder and for what is no regular file.
    """
    if sigstore.wanted():
        sigstore.sign(folder, folder / SIGNATURE)
        return
    found = signed_files(folder)
    unread = [path for path in found if path not in (known or {})]
    digests = {**{path: (known or {}).get(path, "") for path in found}, **_digests(folder, unread)}
    statement = _statement(name, digests)
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": hashlib.sha256(key.public).hexdigest()},
            "tlogEntries": [],
        },
        "dsseEnvelope": dsse.envelope(statement, key, keyid=""),
    }
    write_text(folder / SIGNATURE, json_text(bundle))


def signature_faults(folder: Path, trusted: Path | None = None) -> tuple[str, list[str]]:
    """The fingerprint of the key that signed ("" where unknown), and what is wrong, «FILE: FIELD: what».

    `trusted`: the public key (PEM) that must have signed; without it the folder's own signing.pub,
    which shows that nothing was changed since, but not by whom it was signed. Every file of the
    folder is read. Raises InputError for a `trusted` that is no public key.
    """
    expected = load_public_key(trusted) if trusted else None
    try:
        bundle = read_object(folder / SIGNATURE)
    except (CorruptArtifactError, InputError) as error:
        return "", [f"{SIGNATURE}: {_without(folder, error)}"]
    if sigstore.is_bundle(bundle):
        return sigstore.faults(folder, folder / SIGNATURE)
    try:
        own = load_public_key(folder / PUBLIC_KEY)
    except InputError as error:
        return "", [f"{PUBLIC_KEY}: {_without(folder, error)}"]
    if expected and expected.fingerprint != own.fingerprint:
        return own.fingerprint, [
            f"{PUBLIC_KEY}: fingerprint: {own.fingerprint}; the trusted key is {expected.fingerprint}"
        ]
    try:
        signed = _signed(bundle, own)
    except CorruptArtifactError as error:
        return own.fingerprint, [f"{SIGNATURE}: {error}"]
    # The one file that no digest covers: it must be, to the byte, what was written.
    if (folder / SIGNATURE).read_text(encoding="utf-8") != json_text(bundle):
        return own.fingerprint, [f"{SIGNATURE}: is not in the form that it was written in"]
    return own.fingerprint, _differences(folder, signed)


def signed_files(folder: Path) -> list[str]:
    """The path of every file that a signature of `folder` covers, in its order.

    Raises InputError for a link to a folder and for what is no regular file.
    """
    found = []
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            raise InputError(
                f"{path}: is no regular file, so it cannot be signed. Put a copy of what it leads to there."
            )
        found.append(name)
    return sorted({*found} - {SIGNATURE}, key=PurePosixPath)


def _statement(name: str, digests: Mapping[str, str]) -> dict[str, Any]:
    resources = [
        {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in digests.items()
    ]
    return {
        "_type": dsse.STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root(digests.values())}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {"serialization": _SERIALIZATION, "resources": resources},
    }


def _root(digests: Any) -> str:
    """The one digest that stands for all files: SHA-256 over their digests, in order."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _signed(bundle: Mapping[str, Any], key: PublicKey) -> dict[str, str]:
    """The SHA-256 of each file as it was signed. Raises CorruptArtifactError, «FIELD: what is wrong»."""
    if keys := {*bundle} ^ {"mediaType", "verificationMaterial", "dsseEnvelope"}:
        raise CorruptArtifactError(f"{', '.join(sorted(keys))}: more, or missing")
    if bundle["mediaType"] != _MEDIA_TYPE:
        raise CorruptArtifactError(f"mediaType: must be {_MEDIA_TYPE}")
    hint = hashlib.sha256(key.pem).hexdigest()
    material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    if bundle.get("verificationMaterial") != material:
        raise CorruptArtifactError(f"verificationMaterial: does not name the key in {PUBLIC_KEY}")
    statement = dsse.opened(bundle.get("dsseEnvelope"), key)
    if statement.get("predicateType") != _PREDICATE_TYPE:
        raise CorruptArtifactError(f"predicateType: must be {_PREDICATE_TYPE}")
    try:
        predicate, subject = statement["predicate"], statement["subject"][0]
        resources: Sequence[Mapping[str, Any]] = predicate["resources"]
        signed = {str(one["name"]): str(one["digest"]) for one in resources}
        # Whatever else a signature leaves out would be unsigned.
        sound = predicate["serialization"] == _SERIALIZATION and len(signed) == len(resources)
        sound = sound and subject["digest"] == {"sha256": _root(signed.values())}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        sound = False
    if not sound:
        raise CorruptArtifactError("predicate: is not that of a release")
    return signed


def _differences(folder: Path, signed: Mapping[str, str]) -> list[str]:
    """How the files of the folder differ from the signed ones."""
    try:
        found = _digests(folder, signed_files(folder))
    except InputError as error:
        return [_without(folder, error)]
    faults = [f"{path}: is missing, and was signed" for path in signed if path not in found]
    faults += [f"{path}: was not signed" for path in found if path not in signed]
    faults += [
        f"{path}: SHA-256: {digest}, signed was {signed[path]}"
        for path, digest in found.items()
        if signed.get(path, digest) != digest
    ]
    return faults


def _digests(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    """SHA-256 of each file, by several threads."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(digest_file, [folder / path for path in paths])
        return dict(zip(paths, found, strict=True))


def _without(folder: Path, error: Exception) -> str:
    """The message without the folder's path, and without the file's name before it."""
    text = str(error).removeprefix(f"{folder}/")
    for name in (SIGNATURE, PUBLIC_KEY):
        text = text.removeprefix(f"{name}: ")
    return text
