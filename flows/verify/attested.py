"""Signature, provenance and bill of materials of a release, and whose key must have signed it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from flows.verify.result import Part, attempt, together
from pipeline.errors import MergegateError
from pipeline.release.bundle import RECORD

T = TypeVar("T")

UNSIGNED = (1, 2)  # the schemas before there were signatures
SIGNATURE, PROVENANCE = "model.sig", "provenance.intoto.json"
BOM, PUBLIC_KEY = "bom.cdx.json", "signing.pub"


def attested(folder: Path, record: Mapping[str, Any], key: Path | None) -> tuple[str, Part]:
    """The fingerprint of the key whose signature holds ("" where none does), and what was found.

    `key`: a public key in PEM, the one that is trusted. Without it those of the workspace are: the
    one it signs with (MERGEGATE_SIGNING_KEY, .mergegate/signing/key.pem), and
    .mergegate/signing/trusted/*.pem. Where there are none, the key that the folder itself brings
    will do, and a note says what that is worth. Raises InputError for a trusted key that does not
    read.
    """
    trusted, schema = trusted_keys(key), record.get("schema")
    if type(schema) is not int:  # which is a fault already
        return "", Part()
    if schema in UNSIGNED:
        return "", _unsigned(folder, schema, named=key is not None)
    missing = [n for n in (PUBLIC_KEY, SIGNATURE, PROVENANCE, BOM) if not (folder / n).is_file()]
    if missing:
        return "", Part(faults=tuple(f"{name}: is missing" for name in missing))
    fingerprint, signature = _signature(folder, trusted)
    return fingerprint, together(signature, _documents(folder, record))


def trusted_keys(key: Path | None) -> dict[str, Path]:
    """The files of the trusted keys, by fingerprint; see `attested`."""
    from pipeline.release.keys import KEY_VARIABLE, WORKSPACE_KEY, load_public_key

    if key is not None:
        return {load_public_key(key).fingerprint: key}
    given = os.environ.get(KEY_VARIABLE)
    paths = [Path(given)] if given else [WORKSPACE_KEY] if WORKSPACE_KEY.is_file() else []
    paths += sorted(WORKSPACE_KEY.parent.glob("trusted/*.pem"))
    return {load_public_key(path).fingerprint: path for path in paths}


def _unsigned(folder: Path, schema: int, *, named: bool) -> Part:
    """A release from before there were signatures. It brings none, and `--key` cannot be satisfied."""
    faults = [
        f"{name}: is no part of a release of schema {schema}, which was not signed"
        for name in (SIGNATURE, PROVENANCE, BOM, PUBLIC_KEY)
        if (folder / name).exists()
    ]
    if named:
        faults.append(
            f"{RECORD}: schema: {schema} is not signed, so not by the key of --key either"
        )
    note = (
        f"Schema {schema} is not signed: that nobody wrote the whole folder anew is not shown. "
        "Compare the release digest with one from another place, such as the registry."
    )
    return Part(faults=tuple(faults), notes=(note,))


def _signature(folder: Path, trusted: Mapping[str, Path]) -> tuple[str, Part]:
    """The signature over the whole folder, and whether it is by a key that is trusted."""
    from pipeline.release.keys import load_public_key
    from pipeline.release.signature import signature_faults

    own = attempt(folder, lambda: load_public_key(folder / PUBLIC_KEY).fingerprint)
    if trusted and own not in trusted:
        keys = ", ".join(f"{fingerprint[:12]}…" for fingerprint in trusted)
        return "", Part(faults=(f"{PUBLIC_KEY}: the key {own[:12]}… is not trusted here ({keys})",))
    found = _parsed(SIGNATURE, lambda: signature_faults(folder, trusted.get(own)))
    if isinstance(found, str):
        return "", Part(faults=(found,))
    signer, faults = found
    if faults:
        return "", Part(faults=tuple(faults))
    whose = "a key that is trusted here" if trusted else "the key that the folder brings"
    checked = f"{SIGNATURE} over every file, by {whose}: {signer}"
    return signer, Part((checked,), (), () if trusted else (_whose(signer),))


def _whose(fingerprint: str) -> str:
    return (
        f"Signed by {fingerprint[:12]}…; nothing says whose key that is. "
        "Name one you trust with --key."
    )


def _documents(folder: Path, record: Mapping[str, Any]) -> Part:
    """The provenance statement and the bill of materials, each against the record."""
    from pipeline.release.bom import bom_faults
    from pipeline.release.provenance import provenance_faults

    checked: list[str] = []
    faults: list[str] = []
    readers = {PROVENANCE: provenance_faults, BOM: bom_faults}
    for name, read in readers.items():
        found = _parsed(name, partial(read, folder, record))
        faults += [found] if isinstance(found, str) else found
        checked.append(f"{name} against {RECORD}")
    return Part(tuple(checked), tuple(faults))


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
