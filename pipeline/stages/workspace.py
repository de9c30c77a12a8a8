"""Where each stage's files lie, and the reading of those that several stages share."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.facts import package_versions, read_json
from pipeline.params import Params
from pipeline.sources import Reference, Source, open_source, pin

BUILD = Path("build")
SOURCES = BUILD / "sources.json"
ENVIRONMENT = BUILD / "environment.json"
SIGNING = BUILD / "signing.json"
GOLDEN = BUILD / "golden.json"
PLAIN = BUILD / "plain"
EVALS = BUILD / "evals"
HASHES = Path(".mergegate/hashes.json")
CACHE = Path(".mergegate/models")

# What can change a score or a byte. Other packages are in constraints.txt.
_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "lm-eval",
    "llmcompressor",
    "compressed-tensors",
    "great-expectations",
    "numpy",
    "scipy",
)


def known_hashes() -> Path | None:
    """The cache of digests where the current folder is a workspace; None elsewhere, where nothing is to be left."""
    return HASHES if Path("params.yaml").is_file() else None


def environment() -> dict[str, str]:
    """Versions of all that results depend on; `code` is the SHA-256 of mergegate's own modules."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    return {**found, **package_versions("mergegate", *_PACKAGES), "code": code_digest()}


def signer() -> dict[str, str]:
    """Who signs releases: fingerprint and algorithm of the key, and the method. Makes a key where there is none."""
    from pipeline.release.bundle import signing
    from pipeline.release.keys import load_signing_key

    return signing(load_signing_key())


def code_digest() -> str:
    """SHA-256 over the modules and templates of `pipeline` and `gates`: a changed method runs its stages again."""
    import gates

    total = hashlib.sha256()
    for package in (Path(__file__).parents[1], Path(gates.__file__).parent):
        for file in sorted(f for f in package.rglob("*") if f.suffix in (".py", ".j2")):
            total.update(file.relative_to(package.parent).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def open_reference(text: str, registry_uri: str | None = None) -> Source:
    """The source behind a reference; what comes from a registry is kept in the workspace's cache."""
    return open_source(Reference.parse(text), CACHE, tracking_uri=registry_uri)


def open_pinned(params: Params, text: str, pins: Mapping[str, Any]) -> Source:
    """The source, refused where its bytes are no longer those that were pinned."""
    source = open_reference(text, params.registry_uri)
    if pin(source, HASHES)["digest"] != pins[text]["digest"]:
        raise CorruptArtifactError(
            f"{text}: its files have changed since they were pinned in {SOURCES}. "
            "Run `mergegate release` again, so that the change is checked first."
        )
    return source


def all_pins(params: Params, candidate: str) -> dict[str, Any]:
    """The pins of base, experts and the candidate's recipe, by reference."""
    compat = read_json(BUILD / candidate / "compat.json")
    return {**read_json(SOURCES)["pins"], **compat["pins"]}
