"""The unmerged set as files: the adapters, a manifest of members by digest, replies to a probe.

It is the rollback target of a merge. The base, and an expert that is a full fine-tune, are not
copied: they may be 140 GB. The manifest refers to them, and whoever rolls back fetches and checks
them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_of, read_json, write_json, write_text
from pipeline.release.answer import Reply, replies
from pipeline.release.logits import Drift, drift, recorded
from pipeline.sources import Reference, artifact_digest, open_source
from pipeline.sources.reference import is_registry_uri

MANIFEST = "unmerged.json"


@dataclass(frozen=True)
class Probe:
    """One question for every expert of a set, answered greedily."""

    system: str
    prompts: Mapping[str, str]  # by expert
    max_new_tokens: int


@dataclass(frozen=True)
class Answer:
    """What one expert answered when the set was registered, and what it answers now."""

    expert: str
    prompt: str
    expected: str
    observed: str
    drift: Drift | None = None  # of its logits; None for a set registered before they were kept

    @property
    def agrees(self) -> bool:
        """Whether it answers as it did: logits and text on such a machine, logits elsewhere.

        Elsewhere rounding may turn a token where two are nearly as likely, and all after it.
        """
        same = self.expected == self.observed
        if self.drift is None:
            return same
        return self.drift.within and (same or bool(self.drift.elsewhere))


def write_unmerged(
    folder: Path,
    unmerged: Mapping[str, Any],
    *,
    base: Path,
    experts: Mapping[str, Path],
    probe: Probe,
) -> None:
    """Check every digest, then write unmerged.json, adapters/NAME/ and README.md into `folder`."""
    _check("base", unmerged["base"], base)
    for name, member in unmerged["experts"].items():
        _check(name, member, experts[name])
        if member["kind"] == "adapter":
            # Dotfiles are no part of the digest.
            ignored = shutil.ignore_patterns(".*")
            shutil.copytree(experts[name], adapter_folder(folder, name), ignore=ignored)
    asked = replies(base, experts, kinds(unmerged), **asdict(probe))
    kept = {**asdict(probe), "answers": {name: reply.text for name, reply in asked.items()}}
    logits = {name: _recording(reply) for name, reply in asked.items()}
    write_json(folder / MANIFEST, {**unmerged, "probe": {**kept, "logits": logits}})
    write_text(folder / "README.md", _readme(unmerged))


def rehearse_unmerged(
    folder: Path, digest: str, cache: Path | None = None, hashes: Path | None = None
) -> tuple[Answer, ...]:
    """Load the set in `folder` from its references and adapters, and ask it the probe.

    `digest` is what the rollback pointer says of it; `cache` is that of `open_source`; `hashes` a new
    cache of digests, for a caller that needs them again. Raises CorruptArtifactError naming the member
    whose bytes are not as registered, InputError where a reference leads nowhere.
    """
    manifest = read_manifest(folder, digest)
    base, experts = open_members(folder, manifest, cache, hashes)
    probe = Probe(**{key: manifest["probe"][key] for key in Probe.__annotations__})
    asked = replies(base, experts, kinds(manifest), **asdict(probe))
    return tuple(_answer(name, manifest["probe"], asked[name]) for name in sorted(asked))


def read_manifest(folder: Path, digest: str) -> dict[str, Any]:
    """unmerged.json of a set; raises CorruptArtifactError unless its members have `digest`."""
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    members = {key: manifest.get(key) for key in ("base", "experts")}
    if digest_of(members) != digest or "probe" not in manifest:
        raise CorruptArtifactError(
            f"{MANIFEST} of the rollback target is not the one that was registered "
            f"(digest {digest}). "
            "Restore the registry's artifacts from a backup, or release again from the adapters."
        )
    return manifest


def open_members(
    folder: Path,
    manifest: Mapping[str, Any],
    cache: Path | None = None,
    hashes: Path | None = None,
) -> tuple[Path, dict[str, Path]]:
    """The folders of the base and of each expert, every byte checked; see `rehearse_unmerged`."""
    base = open_member("base", manifest["base"], cache, hashes)
    return base, {n: _expert(folder, n, m, cache, hashes) for n, m in manifest["experts"].items()}


def kinds(unmerged: Mapping[str, Any]) -> dict[str, str]:
    """Of each expert: `adapter` or `model`."""
    return {name: member["kind"] for name, member in unmerged["experts"].items()}


def adapter_folder(folder: Path, name: str) -> Path:
    """Where the set in `folder` has the adapter of the expert `name`."""
    return folder / "adapters" / name


def _recording(reply: Reply) -> dict[str, Any]:
    return {"taken": dict(reply.taken), "last": recorded(reply.logits)}


def _answer(name: str, probe: Mapping[str, Any], reply: Reply) -> Answer:
    kept = probe.get("logits", {}).get(name)
    found = drift(reply.logits, kept["last"], kept["taken"], reply.taken) if kept else None
    return Answer(name, probe["prompts"][name], probe["answers"][name], reply.text, found)


def _expert(
    folder: Path, name: str, member: Mapping[str, Any], cache: Path | None, hashes: Path | None
) -> Path:
    if member["kind"] == "model":
        return open_member(name, member, cache, hashes)
    _check(name, member, adapter_folder(folder, name), hashes)
    return adapter_folder(folder, name)


def open_member(
    name: str, member: Mapping[str, Any], cache: Path | None = None, hashes: Path | None = None
) -> Path:
    """The folder of a model that the set refers to: fetched at its pinned revision, and checked by its digest.

    With `hashes` None every byte is read; see `pipeline.sources.hashes`.
    """
    found = open_source(pinned(member), cache).model.folder
    _check(name, member, found, hashes)
    return found


def pinned(member: Mapping[str, Any]) -> Reference:
    """The model of a member at the revision of its pin, without adapters: an alias may have moved since."""
    model = Reference.parse(member["reference"]).model
    if not is_registry_uri(model):
        return Reference(model, member["revision"])
    name, alias, _ = model.partition("@")
    return Reference(f"{name}/{member['revision']}" if alias else model)


def _check(name: str, member: Mapping[str, Any], folder: Path, hashes: Path | None = None) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold {name}, {member['reference']}.")
    if (found := artifact_digest(folder, hashes)) != member["digest"]:
        raise CorruptArtifactError(
            f"{name} ({member['reference']}): its bytes in {folder} have the digest {found}; "
            f"{member['digest']} was released. "
            "Put the released files back, or fetch the pinned revision."
        )


def _readme(unmerged: Mapping[str, Any]) -> str:
    base, adapters = unmerged["base"], kinds(unmerged)
    lines = [
        f"- {name}: `{member['reference']}`, "
        + (f"here as `adapters/{name}`" if adapters[name] == "adapter" else "by reference")
        + f" (`{member['digest']}`)\n"
        for name, member in unmerged["experts"].items()
    ]
    return (
        f"# The unmerged set `{unmerged['digest']}`\n\nThe way back from a merge: serve the base "
        f"`{base['reference']}` (`{base['digest']}`) with one adapter per task.\n\n{''.join(lines)}"
        "\n```python\nmodel = AutoModelForCausalLM.from_pretrained(BASE)\n"
        'model = PeftModel.from_pretrained(model, "adapters/NAME", adapter_name="NAME")\n```\n'
    )
