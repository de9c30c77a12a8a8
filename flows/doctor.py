"""`mergegate doctor`: journal, registry and disk examined, and what is safe mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flows import workspace_lock
from pipeline.errors import EnvironmentFault, MergegateError
from pipeline.redaction import redacted
from pipeline.release.changes import adopt, restore
from pipeline.release.contents import examine_contents
from pipeline.release.doctor import Ailment, attempted
from pipeline.release.doctor_champion import examine_champion
from pipeline.release.doctor_sources import Sources, examine_sources
from pipeline.release.doctor_versions import examine_versions
from pipeline.release.leftovers import examine_disk
from pipeline.release.person import reason
from pipeline.stages.workspace import BUILD, HASHES

KEPT = Path(".mergegate")
# Mending one thing shows another: a change that is finished is then lacking in the journal.
_ROUNDS = 4


@dataclass(frozen=True)
class Examination:
    """What was off, what of it was mended, and what is left."""

    name: str
    found: tuple[Ailment, ...]
    mended: tuple[Ailment, ...]
    left: tuple[tuple[Ailment, str], ...]  # with why it is left
    journal: Path | None = None  # what was compared; None where none was
    notes: tuple[str, ...] = ()  # why no journal was compared, and what was not looked at

    @property
    def exit_code(self) -> int:
        """0 where nothing is left, 2 where a person must decide."""
        return 2 if self.left else 0

    def to_json(self) -> dict[str, Any]:
        """The examination as JSON values."""
        return {
            "name": self.name,
            "healthy": not self.left,
            "mended": [ailment.to_json() for ailment in self.mended],
            "left": [{**ailment.to_json(), "why": why} for ailment, why in self.left],
            "journal": str(self.journal) if self.journal else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Patient:
    """What is examined: a model of a registry, and the workspace where there is one."""

    uri: str
    name: str
    journal: Path | None
    workspace: Path | None
    # Without the bytes of artifacts and of DVC's cache; of sources only those that are not as remembered.
    quick: bool = False
    note: str = "No journal was compared: none was named."  # said where `journal` is None

    def examined(
        self,
        found: tuple[Ailment, ...],
        mended: tuple[Ailment, ...],
        left: tuple[tuple[Ailment, str], ...],
        notes: tuple[str, ...],
    ) -> Examination:
        """What an examination comes to."""
        said = (*(() if self.journal else (self.note,)), *notes)
        return Examination(self.name, found, mended, left, self.journal, said)


def examine(patient: Patient, sources: Sources) -> tuple[Ailment, ...]:
    """All that is off. Where a part cannot be examined, that is what is off with it.

    `sources`: what `look_at_sources` found, which no mending changes and which may take minutes.
    """
    uri, name = patient.uri, patient.name
    parts = [
        examine_champion(uri, name, patient.journal),
        examine_versions(uri, name),
        iter(()) if patient.quick else examine_contents(uri, name),
        iter(sources.ailments),
    ]
    if patient.workspace is not None:
        parts.append(examine_disk(patient.workspace, BUILD, KEPT, cache=not patient.quick))
        parts.append(_examine_lock(patient.workspace))
    return tuple(ailment for part in parts for ailment in _examined(part))


def look_at_sources(patient: Patient) -> Sources:
    """The models that champion and target keep by reference, against their registered digests."""
    here = patient.workspace is not None
    try:
        hashes = HASHES if patient.quick else None
        return examine_sources(patient.uri, patient.name, hashes, here=here)
    except EnvironmentFault:
        raise
    except MergegateError as error:
        return Sources((_unreadable(error),))


def mend(patient: Patient, *, by_hand: str = "", why: str = "") -> Examination:
    """Mend what is safe, and examine again until nothing changes.

    `by_hand`: what to do about an alias that a person moved: `adopt` it as a change, or `restore`
    the recorded champion; "" leaves it. Raises InputError for a reason that cannot be kept, before anything changes.
    """
    why = reason(why)
    sources = look_at_sources(patient)
    first = examine(patient, sources)
    mended: list[Ailment] = []
    if by_hand and any(a.code in ("champion-moved", "champion-gone") for a in first):
        if by_hand == "adopt":
            adopt(patient.uri, patient.name, why or "moved by hand in MLflow", patient.journal)
        else:
            restore(patient.uri, patient.name)
        now = examine(patient, sources)
        mended += [ailment for ailment in first if ailment not in now]
    failed: dict[Ailment, str] = {}
    for _ in range(_ROUNDS):
        now = examine(patient, sources)
        due = [ailment for ailment in now if ailment.mend and ailment not in failed]
        if not due:
            break
        for ailment in due:
            if why_not := attempted(ailment):
                failed[ailment] = why_not
            else:
                mended.append(ailment)
    left = tuple((a, failed.get(a) or a.remedy or "still there") for a in examine(patient, sources))
    return patient.examined(first, tuple(mended), left, sources.notes)


def look(patient: Patient) -> Examination:
    """Examine, and mend nothing."""
    sources = look_at_sources(patient)
    found = examine(patient, sources)
    left = tuple((a, "--mend mends it" if a.mend else a.remedy) for a in found)
    return patient.examined(found, (), left, sources.notes)


def _examine_lock(workspace: Path) -> Iterator[Ailment]:
    """A release that died in the workspace, and was not followed by another."""
    if died := workspace_lock.left_behind(workspace):
        message = f"{died} died. The next release goes on from its last finished stage."
        forget = partial(workspace_lock.forget, workspace)
        yield Ailment("release-died", died.candidate, message, mend=forget)


def _examined(part: Iterator[Ailment]) -> Iterator[Ailment]:
    """The ailments of one part; a registry that cannot be reached ends the command as it does everywhere."""
    try:
        yield from part
    except EnvironmentFault:
        raise
    except MergegateError as error:
        yield _unreadable(error)


def _unreadable(error: MergegateError) -> Ailment:
    return Ailment("unreadable", "registry", redacted(str(error)), "Mend it by hand.")
