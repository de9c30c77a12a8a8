"""The sources of a record, opened at the revisions that were pinned and refused where a byte differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from flows.reproduce.recorded import Recorded, reaching
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.sources import Reference, Source, open_source, pin
from pipeline.sources.reference import is_registry_uri
from pipeline.stages.workspace import CACHE

_MODELS = "models:/"
_MOST = 10  # files that are named of one source


def open_sources(
    recorded: Recorded, root: Path, uri: str | None, hashes: Path
) -> dict[Reference, Source]:
    """Every source of the recipe, by the reference that the recipe has for it.

    Local references are taken from `root` (an absolute one too, from the folder of the same path below
    it, unless `root` is the current folder); what came from a hub or a registry (`uri`) is opened at
    the commit or version of the record. `hashes` is the cache of digests (pipeline.sources.hashes);
    pass a new one, so that every byte is read. Raises InputError naming each file that is not the one
    released, for all sources together.
    """
    found: dict[Reference, Source] = {}
    faults: list[str] = []
    for reference in recorded.recipe.references():
        recorded_pin = recorded.pins[str(reference)]
        try:
            pinned = _pinned(reference, recorded_pin, root)
            with reaching(uri if _MODELS in str(pinned) else None):
                source = open_source(pinned, CACHE, tracking_uri=uri)
        except (InputError, CorruptArtifactError) as error:
            faults.append(str(error))
            continue
        found[reference] = replace(source, reference=reference)
        faults += _differing(str(reference), recorded_pin, pin(found[reference], hashes))
    if faults:
        raise InputError.of(dict.fromkeys(faults))
    return found


def _pinned(reference: Reference, recorded: Mapping[str, Any], root: Path) -> Reference:
    """The reference with its revisions replaced by those of the record."""
    further = recorded.get("further") or []
    adapters = [recorded["adapter"], *further] if reference.adapter else []
    sides = [
        _side(one.adapter or "", found["revision"], root)
        for one, found in zip(reference.each(), adapters, strict=False)
    ]
    model = _side(reference.model, recorded["model"]["revision"], root)
    if not sides:
        return Reference(*model)
    texts = [path if revision is None else f"{path}@{revision}" for path, revision in sides[1:]]
    return Reference(*model, *sides[0], tuple(texts))


def _side(path: str, revision: str | None, root: Path) -> tuple[str, str | None]:
    """Model or adapter as (path, revision), at the revision of the record; None stands for a folder."""
    if is_registry_uri(path):
        name, at, _ = path.partition("@")
        return f"{name}/{revision}" if at else path, None
    if revision is not None:
        return path, revision
    folder = Path(path) if root == Path() else root / path.lstrip("/")
    if not folder.is_dir():  # never taken for a hub id: it was a folder when it was released
        raise InputError(
            f"{path}: was a local folder when it was released, and {folder.absolute()} is none. "
            "Name the folder that its path is relative to with --sources DIR."
        )
    if "+" in str(folder) or "@" in str(folder):
        raise InputError(f"{folder}: + and @ part adapter and revision. Rename the folder.")
    return str(folder), None


def _differing(text: str, recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What of a source is not as it was released, file by file; nothing where all is."""
    if recorded["digest"] == found["digest"]:
        return []
    files = dict.fromkeys(_files(recorded, found))
    shown = list(files)[:_MOST] + ([f"{len(files) - _MOST} more"] if len(files) > _MOST else [])
    named = ", ".join(shown) or "its digests do not fit the record's"
    return [
        f"{text}: not what was released: {named}. Fetch the source as it was "
        f"(digest {recorded['digest']}), or name the folder that holds it with --sources DIR."
    ]


def _files(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """Each file of model and adapters that differs, with what is wrong with it."""
    parts = [("", recorded["model"], found["model"])]
    ours = [recorded["adapter"], *(recorded.get("further") or [])]
    theirs = [found["adapter"], *(found.get("further") or [])]
    parts += [("adapter ", a, b) for a, b in zip(ours, theirs, strict=False) if a and b]
    for part, then, now in parts:
        before, after = then.get("files") or {}, now["files"]
        for name in sorted({*before, *after}):
            if name not in after:
                yield f"{part}{name} is missing"
            elif name not in before:
                yield f"{part}{name} was not there"
            elif before[name] != after[name]:
                yield f"{part}{name} changed"
