"""Whether the models that champion and rollback target keep by reference are here as they were registered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.release import store
from pipeline.release.doctor import Ailment
from pipeline.release.referred import Referred, look_at, referred_members
from pipeline.release.registry import UNMERGED, way_back_of
from pipeline.release.standing import CHAMPION
from pipeline.release.stored import artifacts_of
from pipeline.release.unmerged import MANIFEST, read_manifest
from pipeline.release.wholeness import REHEARSED, rehearsal_seen

_REMEDIES = {
    "changed": "Until then neither a rollback nor `mergegate serve` takes it.",
    "gone": "Put the registered files back; until then the set cannot be served.",
}


@dataclass(frozen=True)
class Sources:
    """What is off with the sources kept by reference, and a note on each that was not looked at."""

    ailments: tuple[Ailment, ...] = ()
    notes: tuple[str, ...] = ()


def examine_sources(uri: str, name: str, hashes: Path | None, *, here: bool) -> Sources:
    """Compare what the champion and its rollback target refer to with its registered digests.

    `hashes` as for `referred.look_at`: with None every byte is read. `here`: whether the current folder
    is the workspace that the references are relative to; elsewhere nothing is looked at.
    """
    ailments: list[Ailment] = []
    notes: list[str] = []
    with store.connect(uri, existing=True) as client:
        for version, role in _sets(client, name):
            if not here:
                notes.append(
                    f"what version {version.version}, the {role}, refers to was not looked at: "
                    "run this in the workspace of the release"
                )
                continue
            for found in _looked_at(client, version, hashes):
                if remedy := _REMEDIES.get(found.state):
                    subject = f"version {version.version}"
                    message = f"{subject}, the {role}: {found.said}"
                    code = f"{role}-source-{found.state}"
                    ailments.append(Ailment(code, subject, message, remedy))
                elif found.state == "elsewhere":
                    notes.append(found.said)
    return Sources(tuple(ailments), tuple(dict.fromkeys(notes)))


def _sets(client: Any, name: str) -> Iterator[tuple[Any, str]]:
    """The champion and its rollback target, as far as they are unmerged sets, each with its role."""
    model = next(iter(client.search_registered_models(f"name = '{name}'")), None)
    alias = model.aliases.get(CHAMPION) if model else None
    if alias is None:
        return
    champion = client.get_model_version(name, str(alias))
    if champion.tags.get("mergegate.kind") == UNMERGED:
        yield champion, "champion"
    target = way_back_of(champion.tags)
    if target and store.digest_of_version(client, name, target) is not None:
        found = client.get_model_version(name, str(target))
        if found.tags.get("mergegate.kind") == UNMERGED:
            yield found, "target"


def _looked_at(client: Any, version: Any, hashes: Path | None) -> list[Referred]:
    """A look at each model that a set refers to; none where its manifest is not as registered, which is told apart."""
    digest = version.tags.get(store.RELEASE_DIGEST, "")
    seen = rehearsal_seen(version.tags.get(REHEARSED), digest).get("members") or {}
    artifacts = artifacts_of(client, version.name, int(version.version))
    try:
        if MANIFEST not in artifacts.sizes():
            return []
        with artifacts.file(MANIFEST) as file:
            members = referred_members(read_manifest(file.parent, digest))
    except (CorruptArtifactError, InputError):
        return []
    return [look_at(client, n, member, hashes, seen.get(n)) for n, member in members.items()]
