"""What is off, as `mergegate doctor` names it: an ailment, with its mending where that is safe.

Looking changes nothing. What a person must decide (bytes that changed, an alias moved by hand, a journal that was
altered) has no `mend`. Of what a release may be busy with, only what is older than YOUNG_S is held to be left over.

Who looks: `doctor_champion` at the champion, its changes and the journal, `doctor_versions` at versions and what
interrupted registrations left, `contents` at bytes of the store, `doctor_sources` at what a set refers to outside it,
`leftovers` at the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import MergegateError

YOUNG_S = 3600.0


@dataclass(frozen=True)
class Ailment:
    """One thing that is off."""

    code: str  # stable, for programs: "journal-lacks", "champion-moved", ...
    subject: str  # the version, file or run it speaks of
    message: str  # one sentence for a person
    remedy: str = ""  # what a person can do where nothing mends it
    # Does what is safe; None where a person must decide.
    mend: Callable[[], object] | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """The ailment as JSON values; `mendable` says whether `--mend` mends it."""
        shown = {k: v for k, v in vars(self).items() if k != "mend"}
        return {**shown, "mendable": self.mend is not None}


def attempted(ailment: Ailment) -> str:
    """Mend it: "" where that succeeded, else why not."""
    if ailment.mend is None:
        return ailment.remedy or "a person must decide"
    try:
        ailment.mend()
    except (MergegateError, OSError) as error:
        return str(error)
    return ""


def old(milliseconds: int) -> bool:
    """Whether a moment, in milliseconds since 1970, is so long past that no release is at it any more."""
    return time.time() - milliseconds / 1000 > YOUNG_S
