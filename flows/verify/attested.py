"""Signature, provenance and bill of materials of a release, and whose key must have signed it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from flows.verify.result import Part, together
from pipeline.errors import InputError, MergegateError
from pipeline.release.bom import BOM, bom_faults
from pipeline.release.bundle import RECORD
from pipeline.release.keys import KEY_VARIABLE, WORKSPACE_KEY, load_public_key
from pipeline.release.provenance import PROVENANCE, provenance_faults
from pipeline.release.signature import PUBLIC_KEY, SIGNATURE, signature_faults

T = TypeVar("T")

UNSIGNED = (1, 2)  # the schemas before there were signatures
ATTESTATIONS = (PUBLIC_KEY, SIGNATURE, PROVENANCE, BOM)


def attested(
    folder: Path,
    record: Mapping[str, Any],
    key: Path | None,
    named: Collection[str] = (),
    *,
    unsigned: bool = False,
) -> tuple[str, Part]:
    """The fingerprint of the key whose signature holds ("" where none does), and what was found.

    `key`: a public key in PEM, the one that is trusted. Without it those of the workspace are: the
    one it signs with (MERGEGATE_SIGNING_KEY, .mergegate/signing/key.pem), and
    .mergegate/signing/trusted/*.pem. Where there are none, the key that the folder itself brings
    will do, and a note says what that is worth. Where a key is trusted, a release of a schema without
    signatures is a fault unless `unsigned`: somebody may have taken the signature off. `named`: files
    that are known to have changed, of which the signature need not say so again. Raises InputError
    for a trusted key that does not read.
    """
    trusted, schema = trusted_keys(key), record.get("schema")
    if type(schema) is not int:  # which is a fault already
        return "", Part()
    if schema in UNSIGNED:
        return "", _unsigned(folder, schema, trusted={} if unsigned else trusted)
    if missing := [name for name in ATTESTATIONS if not (folder / name).is_file()]:
        return "", Part(faults=tuple(f"{name}: is missing" for name in missing))
    try:
        own = load_public_key(folder / PUBLIC_KEY).fingerprint
    except InputError as error:
        return "", Part(faults=(f"{PUBLIC_KEY}: {error}".replace(f"{folder}/{PUBLIC_KEY}: ", ""),))
    if trusted and own not in trusted:
        keys = ", ".join(f"{fingerprint[:12]}…" for fingerprint in trusted)
        fault = f"{PUBLIC_KEY}: the key {own[:12]}… is not one that is trusted here ({keys})"
        return "", together(Part(faults=(fault,)), _documents(folder, record, None))
    signer, signature = _signature(folder, trusted.get(own), named)
    documents = _documents(folder, record, trusted.get(own))
    return signer, together(signature, _stated(record, own), documents)


def trusted_keys(key: Path | None) -> dict[str, Path]:
    """The files of the trusted keys, by fingerprint; see `attested`."""
    if key is not None:
        return {load_public_key(key).fingerprint: key}
    given = os.environ.get(KEY_VARIABLE)
    paths = [Path(given)] if given else [WORKSPACE_KEY] if WORKSPACE_KEY.is_file() else []
    paths += sorted(WORKSPACE_KEY.parent.glob("trusted/*.pem"))
    return {load_public_key(path).fingerprint: path for path in paths}


def _unsigned(folder: Path, schema: int, *, trusted: Collection[str]) -> Part:
    """A release from before there were signatures: no key that is trusted can have signed it."""
    faults = [
        f"{name}: is no part of a release of schema {schema}, which was not signed"
        for name in ATTESTATIONS
        if (folder / name).exists()
    ]
    if trusted:
        keys = ", ".join(f"{fingerprint[:12]}…" for fingerprint in trusted)
        faults.append(
            f"{RECORD}: schema: {schema} is not signed, so not by a key that is trusted here ({keys}). "
            "A release that is known to be from before there were signatures passes with --unsigned"
        )
    note = (
        f"Schema {schema} is not signed: that nobody wrote the whole folder anew is not shown. "
        "Compare the release digest with one from another place, such as the registry."
    )
    return Part(faults=tuple(faults), notes=(note,))


def _signature(folder: Path, key: Path | None, named: Collection[str]) -> tuple[str, Part]:
    """The signature over the whole folder, by the trusted `key` or by the one that the folder brings."""
    found = _parsed(SIGNATURE, lambda: signature_faults(folder, key))
    if isinstance(found, str):
        return "", Part(faults=(found,))
    signer, faults = found
    if faults:
        return "", Part(faults=tuple(f for f in faults if f.partition(": ")[0] not in named))
    whose = "a key that is trusted here" if key else "the key that the folder brings"
    checked = f"{SIGNATURE} over every file, by {whose}: {signer}"
    return signer, Part((checked,), (), () if key else (_whose(signer),))


def _stated(record: Mapping[str, Any], own: str) -> Part:
    """That the record names the key which the folder brings."""
    signing = record.get("signing")
    named = signing.get("fingerprint") if isinstance(signing, Mapping) else None
    if named == own:
        return Part()
    return Part(faults=(f"{RECORD}: signing.fingerprint: is {named}; {PUBLIC_KEY} is {own}",))


def _whose(fingerprint: str) -> str:
    return (
        f"Signed by {fingerprint[:12]}…; nothing says whose key that is. "
        "Name one you trust with --key."
    )


def _documents(folder: Path, record: Mapping[str, Any], key: Path | None) -> Part:
    """The provenance statement, signed by `key` or signing.pub, and the bill of materials, against the record."""
    readers: dict[str, Callable[[], list[str]]] = {
        PROVENANCE: lambda: provenance_faults(folder, record, key),
        BOM: lambda: bom_faults(folder, record),
    }
    faults: list[str] = []
    for name, read in readers.items():
        found = _parsed(name, read)
        faults += [found] if isinstance(found, str) else found
    return Part(tuple(f"{name} against {RECORD}" for name in readers), tuple(faults))


def _parsed(name: str, read: Callable[[], T]) -> T | str:
    """What `read` gives, or why it fails.

    Certificates, protocol buffers and bundles raise whatever their libraries do; in a file of a
    release it all means that the file is not what was written.
    """
    try:
        return read()
    except MergegateError as error:
        return f"{name}: {error}"
    except Exception as error:
        return f"{name}: does not read ({type(error).__name__}: {error})"
