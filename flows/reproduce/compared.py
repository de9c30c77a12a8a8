"""What was rebuilt against what was released, artifact by artifact and file by file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.reproduce.recorded import MERGE_RECORD, Recorded
from gates.recompute import differences
from pipeline.facts import digest_of, read_json
from pipeline.sources import folder_digests

State = Literal["identical", "differs", "not rebuilt"]
# The number of fields of merge.json that are named.
_MOST = 8


@dataclass(frozen=True)
class Artifact:
    """The merge or the quantized artifact. Digests are artifact digests, see pipeline.sources.hashes."""

    name: str
    state: State
    recorded: str
    rebuilt: str | None
    files: int  # compared
    differing: tuple[str, ...]  # «FILE: what»
    weights_identical: bool
    why: str = ""  # it was not rebuilt


def not_rebuilt(name: str, recorded: str, why: str) -> Artifact:
    """An artifact that could not be made again, and the reason."""
    return Artifact(name, "not rebuilt", recorded, None, 0, (), False, why)


def compare_merged(recorded: Recorded, folder: Path) -> tuple[Artifact, tuple[str, ...]]:
    """The rebuilt merge, and in words where merge.json, its own record, differs.

    merge.json names the versions that wrote it, so it is compared by its fields and is no part of the
    model: a merge whose other files are the same is identical.
    """
    found = folder_digests(folder)
    made, notes = digest_of(found), tuple[str, ...]()
    if found.get(MERGE_RECORD) != recorded.merge_record_digest:
        said, says = dict(recorded.merge_record), dict(read_json(folder / MERGE_RECORD))
        # The weights' digests are told by file.
        told = list(differences({**said, "files": 0}, {**says, "files": 0}))
        more = [f"and {len(told) - _MOST} more fields"] if len(told) > _MOST else []
        notes = tuple(f"{MERGE_RECORD}: {words}" for words in (*told[:_MOST], *more))
    weights = dict(recorded.merge_record["files"])
    rebuilt = {name: digest for name, digest in found.items() if name.endswith(".safetensors")}
    differing = _merged_files(recorded, found, weights, rebuilt)
    state: State = "differs" if differing else "identical"
    same = weights == rebuilt
    merged = Artifact(
        "merged", state, recorded.merged, made, len(found) - 1, tuple(differing), same
    )
    return merged, notes


def _merged_files(
    recorded: Recorded,
    found: Mapping[str, str],
    weights: Mapping[str, str],
    rebuilt: Mapping[str, str],
) -> list[str]:
    """The files of the merge that differ, but for merge.json."""
    as_released = {**found, MERGE_RECORD: recorded.merge_record_digest}
    if digest_of(as_released) == recorded.merged:
        return []
    if recorded.merged_files is not None:
        return _by_file({**recorded.merged_files}, as_released)
    differing = _by_file(weights, rebuilt)
    if digest_of({**_without(as_released, rebuilt), **weights}) != recorded.merged:
        differing += _side_files(recorded, found)
    return differing


def compare_quantized(recorded: Recorded, folder: Path) -> Artifact:
    """The rebuilt quantized artifact, by the digest of each file that the record lists."""
    found, expected = folder_digests(folder), recorded.quantized_files
    differing = tuple(_by_file(expected, found))
    assert recorded.quantized is not None
    return Artifact(
        "quantized",
        "differs" if differing else "identical",
        recorded.quantized,
        digest_of(found),
        len(found),
        differing,
        not any(fault.split(":")[0].endswith(".safetensors") for fault in differing),
    )


def _by_file(recorded: Mapping[str, str], rebuilt: Mapping[str, str]) -> list[str]:
    faults = {name: _fault(recorded.get(name), rebuilt.get(name)) for name in {*recorded, *rebuilt}}
    return [f"{name}: {fault}" for name, fault in sorted(faults.items()) if fault]


def _fault(recorded: str | None, rebuilt: str | None) -> str:
    if recorded is None:
        return "rebuilt, and not recorded"
    if rebuilt is None:
        return "recorded, and not rebuilt"
    return "" if recorded == rebuilt else f"recorded {recorded[:12]}…, rebuilt {rebuilt[:12]}…"


def _side_files(recorded: Recorded, found: Mapping[str, str]) -> list[str]:
    """Files beside the weights that differ. The record has one digest of all of them.

    Those that the quantized artifact has as copies have a digest there; the rest can only be named
    together.
    """
    beside = set(recorded.merge_record.get("beside") or [])
    made = {name for name in found if name != MERGE_RECORD and not name.endswith(".safetensors")}
    single = {
        name: digest
        for name, digest in recorded.quantized_files.items()
        if name in beside & made and name != "config.json"
    }
    faults = _by_file(single, {name: found[name] for name in single})
    faults += [f"{name}: recorded, and not rebuilt" for name in sorted(beside - made)]
    faults += [f"{name}: rebuilt, and not recorded" for name in sorted(made - beside) if beside]
    return faults or [_together(sorted(made - set(single)))]


def _together(names: Sequence[str]) -> str:
    return f"{', '.join(names) or 'the files beside the weights'}: at least one of them differs"


def _without(found: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in found.items() if name not in names}
