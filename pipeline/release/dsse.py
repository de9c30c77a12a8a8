"""DSSE envelopes of in-toto statements (secure-systems-lab/dsse, protocol 1.0), signed and opened."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.facts import canonical_json
from pipeline.release.keys import PublicKey, SigningKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_FIELDS = {"payload", "payloadType", "signatures", "sig", "keyid"}
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"


def envelope(statement: Mapping[str, Any], key: SigningKey, keyid: str) -> dict[str, Any]:
    """The envelope, as JSON values, of the statement's canonical JSON, signed with `key`."""
    payload = canonical_json(statement).encode()
    signature = key.sign(pae(payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": keyid}],
    }


def opened(found: Any, key: PublicKey) -> dict[str, Any]:
    """The statement in an envelope, once `key` is known to have signed it.

    Raises CorruptArtifactError whose message is «FIELD: what is wrong».
    """
    if not isinstance(found, Mapping):
        raise CorruptArtifactError("is no envelope")
    if found.get("payloadType") != PAYLOAD_TYPE:
        raise CorruptArtifactError(f"payloadType: must be {PAYLOAD_TYPE}")
    payload = _decoded(found.get("payload"), "payload")
    signatures = found.get("signatures")
    if not (isinstance(signatures, list) and len(signatures) == 1):
        raise CorruptArtifactError("signatures: must be one")
    one = signatures[0] if isinstance(signatures[0], Mapping) else {}
    if (keys := {*found, *one}) != _FIELDS:
        raise CorruptArtifactError(f"{', '.join(sorted(keys ^ _FIELDS))}: more, or missing")
    if not key.verifies(_decoded(one.get("sig"), "signatures"), pae(payload)):
        raise CorruptArtifactError(
            f"signatures: not of the key {key.fingerprint}, or changed since it was signed"
        )
    return _statement(payload)


def pae(payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of payload type and payload."""
    return b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        statement = json.loads(payload)
    except (ValueError, RecursionError):
        raise CorruptArtifactError("payload: not valid JSON") from None
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise CorruptArtifactError(f"_type: must be {STATEMENT_TYPE}")
    return statement


def _decoded(text: Any, field: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
        # Some bits at the end of base64 mean nothing; changed, they would go unnoticed.
        if data and base64.b64encode(data).decode() == text:
            return data
    except (binascii.Error, ValueError):
        pass
    raise CorruptArtifactError(f"{field}: not base64")
