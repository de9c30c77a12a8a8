"""The unmerged set as files: the adapters, a manifest of members by digest, answers to a probe.

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
from pipeline.release.answer import answers
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
            shutil.copytree(experts[name], _adapter(folder, name), ignore=ignored)
    answered = answers(base, experts, _kinds(unmerged), **asdict(probe))
    write_json(folder / MANIFEST, {**unmerged, "probe": {**asdict(probe), "answers": answered}})
    write_text(folder / "README.md", _readme(unmerged))


def rehearse_unmerged(folder: Path, digest: str, cache: Path | None = None) -> tuple[Answer, ...]:
    """Load the set in `folder` from its references and adapters, and ask it the probe.

    `digest` is what the rollback pointer says of it; `cache` is that of `open_source`. Raises
    CorruptArtifactError naming the member whose bytes are not as registered, InputError where a
    reference leads nowhere.
    """
    manifest = read_json(folder / MANIFEST)
    members = {key: manifest.get(key) for key in ("base", "experts")}
    if digest_of(members) != digest or "probe" not in manifest:
        raise CorruptArtifactError(
            f"{MANIFEST} of the rollback target is not the one that was registered "
            f"(digest {digest}). "
            "Restore the registry's artifacts from a backup, or release again from the adapters."
        )
    base = _opened("base", manifest["base"], cache)
    experts = {name: _expert(folder, name, m, cache) for name, m in manifest["experts"].items()}
    probe = Probe(**{key: manifest["probe"][key] for key in Probe.__annotations__})
    observed = answers(base, experts, _kinds(manifest), **asdict(probe))
    expected = manifest["probe"]["answers"]
    return tuple(Answer(n, probe.prompts[n], expected[n], observed[n]) for n in sorted(observed))


def _expert(folder: Path, name: str, member: Mapping[str, Any], cache: Path | None) -> Path:
    if member["kind"] == "model":
        return _opened(name, member, cache)
    _check(name, member, _adapter(folder, name))
    return _adapter(folder, name)


def _opened(name: str, member: Mapping[str, Any], cache: Path | None) -> Path:
    """The folder of a model that the set refers to: fetched at its pinned revision, and checked."""
    model = Reference.parse(member["reference"]).model
    # A URI of a registry names its version itself.
    revision = None if is_registry_uri(model) else member["revision"]
    found = open_source(Reference(model, revision), cache).model.folder
    _check(name, member, found)
    return found


def _check(name: str, member: Mapping[str, Any], folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it should hold {name}, {member['reference']}.")
    if (found := artifact_digest(folder)) != member["digest"]:
        raise CorruptArtifactError(
            f"{name} ({member['reference']}): its bytes in {folder} have the digest {found}; "
            f"{member['digest']} was released. "
            "Put the released files back, or fetch the pinned revision."
        )


def _adapter(folder: Path, name: str) -> Path:
    return folder / "adapters" / name


def _kinds(unmerged: Mapping[str, Any]) -> dict[str, str]:
    return {name: member["kind"] for name, member in unmerged["experts"].items()}


def _readme(unmerged: Mapping[str, Any]) -> str:
    base, adapters = unmerged["base"], _kinds(unmerged)
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
