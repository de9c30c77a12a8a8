"""How a registered version is served with vLLM: the exact commands, for a merge and for an unmerged set.

vLLM's options: https://docs.vllm.ai/en/stable/cli/serve/, its LoRA modules:
https://docs.vllm.ai/en/stable/features/lora/. A quantized merge needs none: vLLM reads the scheme
from config.json (compressed-tensors).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import read_json
from pipeline.folders import FolderKind, check_place, whole_folder
from pipeline.release import store
from pipeline.release.bundle import RECORD
from pipeline.release.registry import MERGE
from pipeline.release.rehearsal import verify_merge
from pipeline.release.rollback import champion_version, pointer
from pipeline.release.stored import Artifacts, artifacts_of
from pipeline.release.unmerged import (
    MANIFEST,
    adapter_folder,
    open_member,
    pinned,
    read_manifest,
)
from pipeline.release.wholeness import adapter_faults, check_whole, known, look
from pipeline.sources.reference import is_registry_uri

# What --max-lora-rank takes: MaxLoRARanks of vllm/config/lora.py, but for 1, which older ones refuse.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_TEMPLATE = "chat_template.jinja"

Kept = tuple[Path | None, Path | None]  # the caches of what was fetched, and of digests


@dataclass(frozen=True)
class Serving:
    """The commands that serve a version, each as its words."""

    name: str
    version: int
    kind: str  # merge or unmerged
    digest: str  # its release digest
    commands: tuple[tuple[str, ...], ...]  # one process each
    checked: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; `shell` has each command quoted for a shell."""
        return {**asdict(self), "shell": [shlex.join(command) for command in self.commands]}


def serving(
    uri: str,
    name: str,
    version: int | None = None,
    *,
    unmerged: bool = False,
    port: int = 8000,
    download: Path | None = None,
    cache: Path | None = None,
    hashes: Path | None = None,
) -> Serving:
    """The commands for a version (None: the champion), or with `unmerged` for its rollback target.

    Paths are those of the store where it is a folder of this machine, else below `download`, which
    is filled and checked by SHA-256. `port` is that of the first process; an expert that is a full
    fine-tune has a process of its own, on the next one. `cache` is that of `open_source`, `hashes` as
    for `wholeness.look`. Raises CorruptArtifactError for a version that is not whole, InputError where it
    cannot be served so.
    """
    with store.connect(uri, existing=True) as client:
        number = chosen(client, name, version, unmerged=unmerged)
        seen = look(client, name, number, hashes)
        check_whole(seen, name)
        artifacts = artifacts_of(client, name, number)
        folder = _folder(artifacts, name, number, seen.kind, seen.digest, download)
        if seen.kind == MERGE:
            commands, notes = [_merge(folder, name, port)], _template_notes(folder)
        else:
            manifest = read_manifest(folder, seen.digest)
            commands, notes = _unmerged(folder, manifest, name, port, (cache, hashes))
    told = tuple(tuple(command) for command in commands)
    return Serving(name, number, seen.kind, seen.digest, told, seen.checked, tuple(notes))


def chosen(client: Any, name: str, version: int | None, *, unmerged: bool) -> int:
    """The version that is meant. Raises InputError where it is not one of mergegate's."""
    champion = champion_version(client, name) if version is None else None
    found = champion or known(client, name, version or 0)[0]
    return pointer(found)[0] if unmerged else int(found.version)


def _folder(
    artifacts: Artifacts, name: str, version: int, kind: str, digest: str, download: Path | None
) -> Path:
    if download is None:
        if artifacts.folder is None:
            raise InputError(
                f"{name} version {version}: its artifacts are at a server, and vLLM reads a folder. "
                "Add --download DIR to fetch them."
            )
        return artifacts.folder.absolute()
    check_place(download)
    out = download.absolute() / f"{name}-{version}"
    mark = f"release/{RECORD}" if kind == MERGE else MANIFEST
    served = FolderKind("a fetched version", mark, lambda folder: (folder / mark).is_file())
    try:
        _check(out, kind, digest)
        return out  # fetched before
    except (CorruptArtifactError, InputError):
        pass
    with whole_folder(out, served) as part:
        artifacts.fetch(part)
        _check(part, kind, digest)
    return out


def _check(folder: Path, kind: str, digest: str) -> None:
    """Read a fetched version wholly. Raises CorruptArtifactError, InputError where it is not there."""
    if kind == MERGE:
        verify_merge(folder, digest)
        return
    manifest = read_manifest(folder, digest)
    faults, _ = adapter_faults(Artifacts(str(folder), folder), manifest)
    if faults:
        raise CorruptArtifactError(
            f"{folder}: not what was registered: {', '.join(faults)}. "
            "Restore the registry's artifacts from a backup."
        )


def _merge(folder: Path, name: str, port: int) -> list[str]:
    return ["vllm", "serve", str(folder), *_named(name, port), *_template(folder)]


def _unmerged(
    folder: Path, manifest: Mapping[str, Any], name: str, port: int, kept: Kept
) -> tuple[list[list[str]], list[str]]:
    """The commands of a set: the base with its adapters, then each full fine-tune by itself."""
    adapters = [n for n, m in sorted(manifest["experts"].items()) if m["kind"] == "adapter"]
    models = {n: m for n, m in sorted(manifest["experts"].items()) if m["kind"] == "model"}
    commands, notes = [], []
    if adapters:
        folders = {expert: adapter_folder(folder, expert) for expert in adapters}
        modules = [f"{expert}={path}" for expert, path in folders.items()]
        # Not NAME: whoever asks for that and names no expert would be answered by the bare base.
        base = [*_served("base", manifest["base"], f"{name}-base", port, kept), "--enable-lora"]
        limits = ["--max-lora-rank", str(_rank(folders)), "--max-loras", str(len(adapters))]
        commands.append([*base, "--lora-modules", *modules, *limits])
        notes.append(
            f"Ask for the model {', '.join(adapters)}, by task; {name}-base is the bare base."
        )
    for expert, member in models.items():
        commands.append(_served(expert, member, expert, port + len(commands), kept))
        notes.append(f"{expert} is a full fine-tune, in a process of its own.")
    return commands, notes


def _served(who: str, member: Mapping[str, Any], name: str, port: int, kept: Kept) -> list[str]:
    """The command for a model that a set refers to: by folder, whose digest is right, or by hub id at its commit."""
    model = pinned(member).model
    if member["revision"] and not is_registry_uri(model):
        commit = ["--revision", member["revision"], "--tokenizer-revision", member["revision"]]
        return ["vllm", "serve", model, *commit, *_named(name, port)]
    folder = open_member(who, member, *kept).absolute()
    return ["vllm", "serve", str(folder), *_named(name, port), *_template(folder)]


def _named(name: str, port: int) -> list[str]:
    return ["--served-model-name", name, "--port", str(port)]


def _template(folder: Path) -> list[str]:
    """The chat template where it is a file of its own, which older releases of vLLM do not look for."""
    return ["--chat-template", str(folder / _TEMPLATE)] if _template_is_apart(folder) else []


def _template_is_apart(folder: Path) -> bool:
    return (folder / _TEMPLATE).is_file() and not _configured(folder).get("chat_template")


def _configured(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    return dict(read_json(file)) if file.is_file() else {}


def _template_notes(folder: Path) -> list[str]:
    if _template_is_apart(folder) or _configured(folder).get("chat_template"):
        return []
    return ["It has no chat template: vLLM answers /v1/completions only."]


def _rank(folders: Mapping[str, Path]) -> int:
    """The least rank of RANKS that holds every adapter. Raises InputError for what vLLM cannot serve."""
    configs = {n: read_json(folder / "adapter_config.json") for n, folder in folders.items()}
    faults = [f"{n}: {fault}" for n, config in configs.items() if (fault := _fault(config))]
    if faults:
        raise InputError(
            "\n".join(faults)
            + "\nvLLM serves plain LoRA and rsLoRA of one rank. Merge such an adapter into "
            "a model of its own (`mergegate merge`), or serve the set with PEFT (`--local` shows how it answers)."
        )
    largest = max(int(config["r"]) for config in configs.values())
    return next(rank for rank in RANKS if rank >= largest)


def _fault(config: Mapping[str, Any]) -> str:
    """Why vLLM refuses an adapter, or would serve it wrongly; "" where it does not."""
    if config.get("peft_type") != "LORA":
        return f"peft_type is {config.get('peft_type')!r}, not LORA"
    if int(config["r"]) > RANKS[-1]:
        return f"its rank is {config['r']}, and vLLM takes {RANKS[-1]} at most"
    unserved = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")
    used = [key for key in (*unserved, "trainable_token_indices") if config.get(key)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    return f"uses {', '.join(used)}" if used else ""
