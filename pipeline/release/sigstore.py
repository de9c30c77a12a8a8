"""Sigstore instead of a key: signatures by an identity, where there is a network (MERGEGATE_SIGNING=sigstore).

All of it is model-signing's; the release's provenance is signed with the key all the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault, InputError

VARIABLE = "MERGEGATE_SIGNING"
IDENTITY, ISSUER = "MERGEGATE_SIGSTORE_IDENTITY", "MERGEGATE_SIGSTORE_ISSUER"


def wanted() -> bool:
    """Whether MERGEGATE_SIGNING asks for Sigstore. Raises InputError for another word than key or sigstore."""
    said = os.environ.get(VARIABLE) or "key"
    if said not in ("key", "sigstore"):
        raise InputError(
            f"{VARIABLE} is {said!r}; it must be key or sigstore. Leave it out to sign with a key."
        )
    return said == "sigstore"


def sign(folder: Path, signature: Path) -> None:
    """Sign the folder as whom the environment says we are, as a CI job with an identity token is.

    Raises EnvironmentFault where there is no network or no identity.
    """
    from model_signing import hashing, signing
    from sigstore.oidc import detect_credential

    content = hashing.Config().use_file_serialization(allow_symlinks=True)
    content.set_allow_symlinks(True)
    content.set_ignored_paths(paths=[signature.name], ignore_git_paths=False)
    try:
        if not detect_credential():  # without one the library would wait for somebody at a browser
            raise LookupError("no identity token in this environment")
        config = signing.Config().set_hashing_config(content)
        config.use_sigstore_signer(use_ambient_credentials=True).sign(folder, signature)
    except Exception as error:  # of requests, TUF, OIDC: whatever the libraries below raise
        raise EnvironmentFault(
            f"Sigstore did not sign ({type(error).__name__}: {error}). It needs a network and an "
            f"identity, such as a CI job's. Try again, or leave {VARIABLE} out to sign with a key."
        ) from error


def is_bundle(bundle: Mapping[str, Any]) -> bool:
    """Whether a signature names a certificate, as Sigstore's do, rather than a key."""
    material = bundle.get("verificationMaterial")
    return isinstance(material, Mapping) and "certificate" in material


def faults(folder: Path, signature: Path) -> tuple[str, list[str]]:
    """As `signature_faults`, for a signature by the identity in MERGEGATE_SIGSTORE_IDENTITY.

    MERGEGATE_SIGSTORE_ISSUER names who vouches for it. Without both nothing is shown, which is a
    fault.
    """
    identity, issuer = os.environ.get(IDENTITY), os.environ.get(ISSUER)
    if not (identity and issuer):
        return "", [
            f"{signature.name}: verificationMaterial: signed through Sigstore by an identity; say which "
            f"one you trust in {IDENTITY} and {ISSUER}, or use `model_signing verify sigstore`"
        ]
    from model_signing import verifying

    config = verifying.Config().use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
    try:
        config.verify(folder, signature)
    except Exception as error:
        return "", [f"{signature.name}: {type(error).__name__}: {error}"]
    return f"{identity} ({issuer})", []
