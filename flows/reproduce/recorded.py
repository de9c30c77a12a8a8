"""What a release's record says of how it was made, read once and checked before anything is built."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.verify import find_release
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import digest_file, read_json
from pipeline.plain_yaml import load_document
from pipeline.quantize.calibration import CALIBRATION, Calibration, read_calibration
from pipeline.recipe import Recipe, parse_recipe
from pipeline.release.bundle import RECORD, read_bundle
from pipeline.sources.reference import is_registry_uri
from pipeline.stages.workspace import CACHE

MERGE_RECORD = "merge.json"
_RELEASE = "release"  # beside the model, among the files of a registered version


@dataclass(frozen=True)
class Recorded:
    """All that the bytes of a release depend on, and their digests (SHA-256, hex)."""

    folder: Path
    candidate: str
    release_digest: str
    recipe: Recipe
    pins: Mapping[str, Mapping[str, Any]]  # by reference, see pipeline.sources.pin
    seed: int
    device: str  # of the merge
    merged: str  # artifact digest
    merge_record: Mapping[str, Any]  # merge.json
    merge_record_digest: str
    merged_files: (
        Mapping[str, str] | None
    )  # before schema 3 only `merged` covers those beside the weights
    quantized: str | None  # artifact digest; None where nothing was quantized
    quantized_files: Mapping[str, str]
    quantization: Mapping[str, Any]  # quantize.json
    calibration: Calibration | None  # None: this release does not store it
    versions: Mapping[str, str]
    environment: Mapping[str, Any]  # see pipeline.release.machine; {} before schema 3


def locate(release: str, uri: str | None = None) -> Path:
    """The release folder behind a path, a candidate's name, or models:/NAME/VERSION or @ALIAS.

    `uri` is the tracking URI of the registry; a version's files are copied once into the workspace's
    cache. Raises InputError where there is no such release, EnvironmentFault where the registry fails.
    """
    if is_registry_uri(release):
        from pipeline.sources.registry import fetch

        with reaching(uri):
            found = fetch(release, CACHE, uri)[0] / _RELEASE
        if not (found / RECORD).is_file():
            raise InputError(
                f"{release}: holds no release (no {_RELEASE}/{RECORD} among its files). "
                "Name the version of a merge; the unmerged set was not made, only referred to."
            )
        return found
    folder = find_release(release)
    return folder if (folder / RECORD).is_file() else folder / _RELEASE


def reaching(uri: str | None) -> AbstractContextManager[Any]:
    """MLflow set to the registry at `uri`, where one is given: it looks the files of a version up there."""
    if uri is None:
        return nullcontext()
    from pipeline.release.store import connect

    return connect(uri, existing=True)


def read_recorded(folder: Path) -> Recorded:
    """The record in a release folder whose every digest holds.

    Raises CorruptArtifactError or InputError naming what is broken: a release that does not fit its
    own record says nothing about how it was made.
    """
    record = read_bundle(folder)
    try:
        return _read(folder, record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"{folder / RECORD}: does not say how the release was made ({error!r}). "
            "Verify it with `mergegate verify`."
        ) from None


def _read(folder: Path, record: Mapping[str, Any]) -> Recorded:
    identity, merge_path = record["identity"], folder / MERGE_RECORD
    text, where = identity["recipe"]["text"], f"{folder / RECORD}: identity.recipe"
    recipe = parse_recipe(load_document(text, where), where, text)
    merge_record = read_json(merge_path)
    faults = [
        f"{folder / RECORD}: identity.{key} is {said!r}, {MERGE_RECORD} says {other!r}."
        for key, said, other in (
            ("recipe.digest", identity["recipe"]["digest"], merge_record["recipe"]["digest"]),
            ("recipe.digest", identity["recipe"]["digest"], recipe.digest),
            ("seed", identity["seed"], merge_record["seed"]),
        )
        if said != other
    ]
    faults += [
        f"{folder / RECORD}: identity.sources has no {reference}, which the recipe names."
        for reference in map(str, recipe.references())
        if reference not in identity["sources"]
    ]
    if faults:
        raise CorruptArtifactError("\n".join(faults))
    return Recorded(
        folder=folder,
        candidate=str(record["candidate"]),
        release_digest=record["release_digest"],
        recipe=recipe,
        pins=identity["sources"],
        seed=int(identity["seed"]),
        device=str(merge_record["device"]),
        merged=identity["merged"],
        merge_record=merge_record,
        merge_record_digest=digest_file(merge_path),
        merged_files=record.get("merged_files"),
        quantized=identity["quantized"],
        quantized_files=record["quantized_files"] or {},
        quantization=record["quantization"],
        calibration=_calibration(folder, record),
        versions=identity["versions"],
        environment=record.get("environment") or {},
    )


def _calibration(folder: Path, record: Mapping[str, Any]) -> Calibration | None:
    """The stored calibration. Raises CorruptArtifactError where it is not what quantize.json names."""
    stated = record["quantization"].get("calibration_prompts")
    if CALIBRATION not in record["files"] or stated is None:
        return None
    found = read_calibration(folder / CALIBRATION)
    if found.digest != stated:
        raise CorruptArtifactError(
            f"{folder / CALIBRATION}: its SHA-256 is {found.digest}, and quantization in {RECORD} "
            f"names {stated}."
        )
    return found
