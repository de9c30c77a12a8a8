"""One prompt answered here by a registered version, as proof that these very bytes answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.errors import InputError
from pipeline.facts import digest_of, read_json
from pipeline.folders import TEMPORARY
from pipeline.release import store
from pipeline.release.answer import replies, reply
from pipeline.release.bundle import RECORD
from pipeline.release.registry import MERGE
from pipeline.release.rehearsal import verify_merge
from pipeline.release.rollback import pointer
from pipeline.release.serving import chosen
from pipeline.release.stored import artifacts_of
from pipeline.release.unmerged import MANIFEST, kinds, open_members, read_manifest
from pipeline.release.wholeness import known
from pipeline.strict import nearest

ANSWER_TOKENS = 128


@dataclass(frozen=True)
class Proof:
    """An answer, and the digests of what gave it, all computed from the bytes that were loaded."""

    name: str
    version: int
    kind: str  # merge or unmerged
    release_digest: str
    expert: str  # who answered, of an unmerged set
    digests: dict[str, str]  # artifact digests: of the merge, or of base and expert
    prompt: str
    answer: str

    def to_json(self) -> dict[str, Any]:
        """The proof as JSON values."""
        return asdict(self)


def prove(
    uri: str,
    name: str,
    version: int | None = None,
    *,
    unmerged: bool = False,
    prompt: str = "",
    expert: str = "",
    max_new_tokens: int = ANSWER_TOKENS,
) -> Proof:
    """Check every byte of a version (None: the champion), load it, and answer `prompt` greedily.

    With `unmerged` its rollback target answers, as `expert` (the first one by name if empty). An
    empty `prompt` stands for that of the set's probe; the system prompt is the probe's in any case.
    What is fetched from the registry is removed again; the hub keeps a cache of its own. Raises
    CorruptArtifactError where bytes are not as registered.
    """
    with store.connect(uri, existing=True) as client:
        number = chosen(client, name, version, unmerged=unmerged)
        found, kind, digest = known(client, name, number)
        artifacts = artifacts_of(client, name, number)
        probe = _probe(client, name, found)
        with artifacts.whole() as folder:
            if kind == MERGE:
                if expert:
                    raise InputError(
                        f"{name} version {number} is a merge: it has no experts. Leave --expert out."
                    )
                prompt = prompt or next(iter(probe["prompts"].values()))
                verify_merge(folder, digest)
                _check_loadable(folder)
                said = reply(
                    folder, system=probe["system"], prompt=prompt, max_new_tokens=max_new_tokens
                )
                files = read_json(folder / "release" / RECORD)["quantized_files"]
                used, text = {"model": digest_of(files)}, said.text
            else:
                manifest = read_manifest(folder, digest)
                expert = _expert(manifest, expert)
                prompt = prompt or probe["prompts"][expert]
                text = _asked(folder, manifest, expert, probe["system"], prompt, max_new_tokens)
                members = {"base": manifest["base"], expert: manifest["experts"][expert]}
                if members[expert]["kind"] == "model":
                    del members["base"]
                used = {member: pinned["digest"] for member, pinned in members.items()}
    return Proof(name, number, kind, digest, expert, used, prompt, text)


def _asked(
    folder: Path, manifest: dict[str, Any], expert: str, system: str, prompt: str, tokens: int
) -> str:
    alone = {**manifest, "experts": {expert: manifest["experts"][expert]}}
    with TemporaryDirectory(prefix=TEMPORARY) as cache:
        base, experts = open_members(folder, alone, Path(cache))
        said = replies(
            base,
            experts,
            kinds(alone),
            system=system,
            prompts={expert: prompt},
            max_new_tokens=tokens,
        )
    return said[expert].text


def _probe(client: Any, name: str, version: Any) -> dict[str, Any]:
    """The probe of a set, or of the set that a merge has as its rollback target."""
    target, digest = pointer(version)
    known(client, name, target)
    with artifacts_of(client, name, target).file(MANIFEST) as file:
        return dict(read_manifest(file.parent, digest)["probe"])


def _expert(manifest: dict[str, Any], expert: str) -> str:
    experts = manifest["experts"]
    if expert and expert not in experts:
        raise InputError(
            f"--expert is {expert!r}, which the set does not have.{nearest(expert, experts)} "
            f"It has {', '.join(sorted(experts))}."
        )
    return expert or min(experts)


def _check_loadable(folder: Path) -> None:
    if (
        read_json(folder / "config.json").get("quantization_config")
        and find_spec("compressed_tensors") is None
    ):
        raise InputError(
            f"{folder}: is quantized, and transformers needs compressed-tensors to load it. "
            "Install mergegate with its extra: pip install 'mergegate[quantize]'."
        )
