"""Whether the journal bears out what `mergegate status` answers from the registry: contradictions, and what it lacks.

What a journal lacks at its end may be of another machine, whose command wrote it into a journal of its own. Where the
registry lies in the workspace itself there is no other, and somebody took the lines away.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import MergegateError
from pipeline.release.agreement import journal_faults
from pipeline.release.journal import Journal
from pipeline.release.standing import Change, Standing

_SHOWN = 10  # numbers of changes that a message names
# A promotion that is at it enters its change right after it is finished: so what lacks is looked at twice.
_LOOKS, _PAUSE_S = 2, 0.5


def compared(
    path: Path | None, name: str, now: Standing, known: Sequence[Change], *, whole: bool
) -> dict[str, Any] | None:
    """The journal at `path` against the registry, as JSON values: its `path`, `faults` and `notes`; None without one.

    `known`: the claims that MLflow still has. `whole`: whether every finished change must be in it; else what it
    lacks at its end is a note.
    """
    if path is None:
        return None
    for look in range(_LOOKS):
        time.sleep(_PAUSE_S if look else 0)
        faults = list(journal_faults(path, name, now, known))
        lacking, inner = _lacking(path, name, now, known)
        if not lacking:
            break
    said = [lacking] if lacking else []
    if whole or inner:
        return {"path": str(path), "faults": faults + said, "notes": []}
    return {"path": str(path), "faults": faults, "notes": said}


def _lacking(path: Path, name: str, now: Standing, known: Sequence[Change]) -> tuple[str, bool]:
    """Which finished changes a journal lacks, "" where none, and whether one of them is not at its end.

    A change is entered after all before it, so what another machine made can be lacking at the end alone.
    """
    try:
        entries, _ = Journal(path).inspect()
    except MergegateError:
        return "", False  # a fault of its own
    written = {entry["number"] for entry in entries if entry.get("name") == name}
    head = {now.head.number} if now.head else set[int]()
    claimed = {change.number for change in known}
    due = claimed - head if now.open else claimed | head
    if not (lacking := sorted(due - written - {0})):
        return "", False
    numbers = ", ".join(str(number) for number in lacking[:_SHOWN])
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    there = "lacks" if path.exists() else "is not there, so it lacks"
    plural = "s" if len(lacking) > 1 else ""
    said = (
        f"{path}: {there} change{plural} {numbers}{more}, which the registry has. Lines were removed, a command was "
        "killed before it wrote them, or another workspace made the change. "
        f"`mergegate doctor {name} --mend` writes what the registry says, as observed."
    )
    return said, lacking[0] < max(written, default=0)
