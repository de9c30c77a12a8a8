"""The tags of a version against what they were made of, and the way back that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.verify.changes import changes_fit
from flows.verify.judged import compared, made_by_this_code
from flows.verify.result import Part, attempt, count, together
from flows.verify.unmerged import read_manifest
from pipeline.facts import canonical_json, digest_of
from pipeline.release import store
from pipeline.release.card import comparison_markdown
from pipeline.release.registry import (
    ARTIFACT_DIGEST,
    CHAMPION,
    ESSENCE,
    ROLLBACK_DIGEST,
    ROLLBACK_VERSION,
    ROLLED_BACK,
    SOURCE_DIGESTS,
    UNMERGED,
)
from pipeline.sources import Reference
from pipeline.sources.reference import is_registry_uri

REGISTRY = "registry"  # where a fault of a tag is, in place of a file


def merge_tags_fit(version: Any, record: Mapping[str, Any]) -> Part:
    """The tags of a merge's version against its release.json.

    They are written down here once more, apart from the registration that made them, so that a
    mistake there shows. The table of the comparison is compared where this version of mergegate
    wrote it: another may lay it out otherwise.
    """
    expected = attempt(Path(), lambda: _of_merge(record))
    if isinstance(expected, str):
        return together(Part(faults=(expected,)), changes_fit(version, REGISTRY))
    if ESSENCE not in version.tags:  # as of versions registered before there was that tag
        del expected[ESSENCE]
    pins = record["identity"]["sources"]
    _as_before(version, expected, {text: pin["digest"] for text, pin in pins.items()})
    faults = _differing(version, expected)
    reason = version.tags.get(ROLLED_BACK)
    notes = (f"Version {version.version} was rolled back: {reason}",) if reason else ()
    checked = f"{count(expected, 'tag')} of version {version.version} against release.json"
    return together(Part((checked,), tuple(faults), notes), changes_fit(version, REGISTRY))


def unmerged_tags_fit(version: Any, manifest: Path) -> Part:
    """The tags of an unmerged set's version against its manifest."""
    found = attempt(manifest.parent, lambda: _of_unmerged(read_manifest(manifest)))
    if isinstance(found, str):
        return together(Part(faults=(found,)), changes_fit(version, REGISTRY))
    expected, before = found
    _as_before(version, expected, before)
    checked = f"{count(expected, 'tag')} of version {version.version} against {manifest.name}"
    tags = Part((checked,), tuple(_differing(version, expected)))
    return together(tags, changes_fit(version, REGISTRY))


def way_back(version: Any, target: Any | None, record: Mapping[str, Any]) -> Part:
    """That the rollback pointer leads to the unmerged set which release.json names.

    `target`: the version that the pointer names, None where the registry has none such.
    """
    number = version.tags.get(ROLLBACK_VERSION)
    if number is None:
        return Part(faults=(f"{REGISTRY}: {ROLLBACK_VERSION}: is missing",))
    if target is None:
        fault = f"{REGISTRY}: {ROLLBACK_VERSION}: there is no version {number}, so no way back"
        return Part(faults=(f"{fault}. Register the unmerged set again with `mergegate release`.",))
    digest = (attempt(Path(), lambda: record["rollback"]["digest"]),)
    named = {
        store.RELEASE_DIGEST: (*digest, target.tags[store.RELEASE_DIGEST]),
        "mergegate.kind": (UNMERGED, target.tags.get("mergegate.kind")),
    }
    faults = tuple(
        f"{REGISTRY}: version {number}: {tag}: is {found}, and the way back of this release is {due}"
        for tag, (due, found) in named.items()
        if due != found
    )
    return Part((f"the way back: version {number}, by its digest",), faults)


def _of_merge(record: Mapping[str, Any]) -> dict[str, str]:
    identity = record["identity"]
    samples = {name: sha for name, sha in identity["samples"].items() if name != CHAMPION}
    tags = {
        "mergegate.kind": "merge",
        store.RELEASE_DIGEST: record["release_digest"],
        "mergegate.candidate": record["candidate"],
        "mergegate.recipe": identity["recipe"]["text"],
        "mergegate.recipe_digest": identity["recipe"]["digest"],
        SOURCE_DIGESTS: canonical_json(dict(_pinned_digests(identity["sources"]))),
        "mergegate.outcome": record["verdict"]["outcome"],
        "mergegate.verdict": canonical_json(record["verdict"]),
        "mergegate.method_rationale": "\n".join(t for t in record["method"].values() if t),
        ARTIFACT_DIGEST: identity["quantized"] or "",
        ESSENCE: digest_of({**identity, "samples": samples}),
        ROLLBACK_DIGEST: record["rollback"]["digest"],
    }
    if made_by_this_code(record):
        tags["mergegate.comparison"] = comparison_markdown(record)
    return tags


def _of_unmerged(manifest: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """The tags of a set, and its digests as earlier releases wrote them: by whole reference."""
    members = (manifest["base"], *manifest["experts"].values())
    digests = {_member_name(member): member["digest"] for member in members}
    tags = {
        store.RELEASE_DIGEST: manifest["digest"],
        ARTIFACT_DIGEST: manifest["digest"],
        "mergegate.base": manifest["base"]["reference"],
        SOURCE_DIGESTS: canonical_json(digests),
    }
    return tags, {member["reference"]: member["digest"] for member in members}


def _pinned_digests(pins: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each model and each adapter with the digest of its own folder."""
    for text, pin in pins.items():
        reference = Reference.parse(text)
        yield _pinned_name(reference.model, pin["model"]["revision"]), pin["model"]["digest"]
        adapters = [pin["adapter"], *pin.get("further", ())] if pin["adapter"] else []
        for one, side in zip(reference.each(), adapters, strict=True) if adapters else ():
            yield _pinned_name(one.adapter or "", side["revision"]), side["digest"]


def _member_name(member: Mapping[str, Any]) -> str:
    reference = Reference.parse(member["reference"])
    is_adapter = member["kind"] == "adapter" and reference.adapter
    return _pinned_name(reference.adapter if is_adapter else reference.model, member["revision"])


def _pinned_name(name: str | None, revision: str | None) -> str:
    """NAME@COMMIT of the hub, models:/NAME/VERSION also where an alias was named, or a folder."""
    named = str(name)
    if is_registry_uri(named):
        return f"{named.partition('@')[0]}/{revision}" if "@" in named else named
    return f"{named}@{revision}" if revision else named


def _as_before(version: Any, expected: dict[str, str], before: Mapping[str, str]) -> None:
    """Expect the digests of the sources as the releases wrote them that named whole references.

    They gave a source of several parts one digest of all. A tag is held to the form that its names are of.
    """
    text, then = version.tags.get(SOURCE_DIGESTS, ""), canonical_json(before)
    found, now = _readable(text), json.loads(expected[SOURCE_DIGESTS])
    named = found.keys() if isinstance(found, Mapping) else set()
    same = text == store.fitting(then, store.VERSION_TAG_LIMIT)
    if same or (named == before.keys() and named != now.keys()):
        expected[SOURCE_DIGESTS] = then


def _differing(version: Any, expected: dict[str, str]) -> list[str]:
    """Tags that are not as expected, and a version whose artifacts are another model's."""
    tags = dict(version.tags)
    due = {key: _readable(store.fitting(v, store.VERSION_TAG_LIMIT)) for key, v in expected.items()}
    found = {key: _readable(tags[key]) for key in due if key in tags}
    faults = compared(REGISTRY, found, due)
    model = f"models:/{tags.get('mergegate.model_id')}"
    if version.source != model:
        faults.append(f"{REGISTRY}: source: is {version.source}; {model} was registered")
    return faults


def _readable(text: str) -> Any:
    """A tag that is JSON as its value, so that a difference has the name of its field."""
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        return text
