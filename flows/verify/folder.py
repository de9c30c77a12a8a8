"""A release folder: which one is meant, its record, its files, and all that follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from flows.verify.attested import attested
from flows.verify.judged import judged_again
from flows.verify.result import Part, Verification, attempt, count, unreadable
from flows.verify.weights import weights_beside
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.release.bundle import RECORD, file_faults
from pipeline.release.record import DIGESTS, SCHEMA, record_faults
from pipeline.stages.workspace import BUILD

# A person who was given a folder has no stage to run again.
_AGAIN = (
    "Get the folder again: from the registry (the artifacts of models:/NAME/VERSION), by `dvc pull` "
    "where DVC keeps it, or from another copy."
)
RELEASE_FOLDER = "release"  # among the files of a registered version


def find_release(release: str) -> Path:
    """The folder that is meant: a path, or a candidate whose release lies in build/.

    Either a release folder, or one that holds the model's files and the release folder as
    `release/`, as a version of the registry does; of build/CANDIDATE it is the release folder. Raises
    InputError where there is neither.
    """
    choices = [Path(release)]
    if Path(release).name == release:
        choices.append(BUILD / release / RELEASE_FOLDER)
    for folder in choices:
        if (folder / RECORD).is_file():
            return folder
        if (folder / RELEASE_FOLDER / RECORD).is_file():
            # The folder of a candidate, whose models lie in merged/ and quantized/, holds no files of a model itself.
            of_candidate = (folder / "merged").is_dir() and not (folder / "config.json").exists()
            return folder / RELEASE_FOLDER if of_candidate else folder
    looked = " and ".join(str(folder / RECORD) for folder in choices)
    raise InputError(
        f"{release}: no release folder; looked for {looked}. Name the folder that holds {RECORD}, "
        "or run `mergegate release` first."
    )


def verify(
    folder: Path, today: date | None = None, key: Path | None = None, *, unsigned: bool = False
) -> Verification:
    """Check a release folder: every digest, no file more or less, signature, provenance, bill of
    materials, and the verdict computed again. Of a folder as `find_release` gives it, the model's
    files as well where it holds them.

    Reads nothing else but the keys that are trusted (see `attested`; `key` names the one, `unsigned`
    accepts a release from before there were signatures all the same), and loads no model. `today` (by
    default the day in UTC) only says which waivers have expired since. Whatever is wrong with the
    content is a fault of the result; raises InputError where there is no record at all, and for a
    `key` that is none.
    """
    if (folder / RECORD).is_file() or not (folder / RELEASE_FOLDER / RECORD).is_file():
        _, found = verify_folder(folder, today, key, unsigned)
        return found
    return verify_beside(folder, str(folder), today, key, unsigned)[1]


def verify_beside(
    folder: Path, name: str, today: date | None, key: Path | None, unsigned: bool
) -> tuple[Mapping[str, Any], Verification]:
    """As `verify_folder` of release/ in `folder`, with the model's files beside it; told as `name`."""
    record, found = verify_folder(folder / RELEASE_FOLDER, today, key, unsigned)
    of_release = Part(found.checked, found.faults, found.notes).below(RELEASE_FOLDER)
    beside = weights_beside(folder, record)
    together = Verification.of(
        name, (of_release, beside), outcome=found.outcome, signed_by=found.signed_by
    )
    return record, together


def verify_folder(
    folder: Path, today: date | None, key: Path | None, unsigned: bool
) -> tuple[Mapping[str, Any], Verification]:
    """The record of a release folder ({} where it does not read), and what is found of the folder."""
    if faults := unreadable(folder):
        return {}, Verification.of(str(folder), [Part(faults=tuple(faults))])
    record = attempt(folder, lambda: _record(folder))
    if isinstance(record, str):
        return {}, Verification.of(str(folder), [Part(faults=(record,))])
    digests = _digests(folder, record)
    named = {fault.partition(": ")[0] for fault in digests.faults}
    signed_by, signature = attested(folder, record, key, named, unsigned=unsigned)
    outcome, judged = judged_again(folder, record, today or datetime.now(UTC).date())
    parts = digests, signature, judged
    return record, Verification.of(str(folder), parts, outcome=outcome, signed_by=signed_by)


def _record(folder: Path) -> dict[str, Any]:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptArtifactError(f"{RECORD}: is cut off or no JSON ({error}). {_AGAIN}") from None
    if not isinstance(record, dict):
        raise CorruptArtifactError(f"{RECORD}: is no record, which is a JSON object. {_AGAIN}")
    for place, value in _not_finite(record):
        raise CorruptArtifactError(
            f"{RECORD}: {place}: is {value}, and JSON has no such value: mergegate did not write it. "
            f"{_AGAIN}"
        )
    return record


def _not_finite(value: Any, place: str = "") -> Iterator[tuple[str, float]]:
    """NaN and infinities, which Python reads and JSON has not, each with its place."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{number}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield place, value


def _digests(folder: Path, record: Mapping[str, Any]) -> Part:
    """Every file and every field by the digests that the record has of them."""
    faults = [f"{RECORD}: {field}: changed since it was written" for field in record_faults(record)]
    if type(schema := record.get("schema")) is int and schema > SCHEMA:
        faults.append(
            f"{RECORD}: schema: is {schema}; this mergegate reads 1 to {SCHEMA}: verify with a newer one"
        )
    wrong = attempt(folder, lambda: file_faults(folder, record.get("files")))
    named = {RECORD: wrong} if isinstance(wrong, str) else wrong
    faults += [f"{name}: {fault}" for name, fault in named.items()]
    checked = [f"{count(record.get('files'), 'file')} by SHA-256, and that there is no other"]
    if DIGESTS in record:
        checked.append(f"{count(record[DIGESTS], 'field')} of {RECORD} by SHA-256")
    return Part(tuple(checked), tuple(faults))
