"""Where each stage's files lie, and the reading of those that several stages share."""

from __future__ import annotations

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
CODE = BUILD / "code.json"
PARAMS = BUILD / "params.json"
SIGNING = BUILD / "signing.json"
GOLDEN = BUILD / "golden.json"
CHAMPION = BUILD / "champion.json"
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
    """Versions of all libraries that results depend on, of Python and of mergegate; the kind of machine."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    return {**found, **package_versions("mergegate", *_PACKAGES)}


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
