"""What a verification found, and the reading of content that somebody may have changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sized
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pipeline.errors import EnvironmentFault, MergegateError
from pipeline.facts import canonical_json
from pipeline.release.bundle import RECORD

T = TypeVar("T")

# What is read whole. A hundred variants of a hundred skills are 2 MB of JSON; a million scores 200 MB.
MAX_BYTES, MAX_SAMPLES_BYTES = 64 * 1024**2, 1024**3
MOST = 20  # differences that are told of one document


@dataclass(frozen=True)
class Part:
    """What one part of a verification checked, what is wrong, and what to know beside it."""

    checked: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # each «FILE: FIELD: what differs», or «FILE: what is wrong»
    notes: tuple[str, ...] = ()

    def below(self, folder: str) -> Part:
        """The same of files that lie in a subfolder."""
        return replace(self, faults=tuple(f"{folder}/{fault}" for fault in self.faults))


def together(*parts: Part) -> Part:
    """Several parts as one, in their order; what two of them found is told once."""
    checked, faults, notes = (
        tuple(dict.fromkeys(line for part in parts for line in getattr(part, name)))
        for name in ("checked", "faults", "notes")
    )
    return Part(checked, faults, notes)


@dataclass(frozen=True)
class Verification:
    """What was checked of a release, what is wrong, and what a reader should know beside it."""

    release: str  # a folder, or models:/NAME/VERSION
    kind: str  # merge, or unmerged
    outcome: str  # of the verdict that was computed again; "" where it could not be
    signed_by: str  # SHA-256 of the public key whose signature holds; "" where none does
    checked: tuple[str, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        release: str,
        parts: Iterable[Part],
        *,
        kind: str = "merge",
        outcome: str = "",
        signed_by: str = "",
    ) -> Verification:
        """The parts as one; what two of them found is told once."""
        found = together(*parts)
        lines = (tuple(map(_printable, of)) for of in (found.checked, found.faults, found.notes))
        return cls(release, kind, outcome, signed_by, *lines)

    def with_parts(self, *parts: Part) -> Verification:
        """The same with what further parts found."""
        mine = Part(self.checked, self.faults, self.notes)
        return Verification.of(
            self.release,
            (mine, *parts),
            kind=self.kind,
            outcome=self.outcome,
            signed_by=self.signed_by,
        )

    @property
    def exit_code(self) -> int:
        """0 where the release is what it says, 2 where anything differs."""
        return 2 if self.faults else 0

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "sound": not self.faults}


def attempt(folder: Path, read: Callable[[], T]) -> T | str:
    """What `read` gives, or why it fails: changed content must not end in a traceback."""
    try:
        return read()
    except EnvironmentFault:  # not the content's fault
        raise
    except MergegateError as error:
        return str(error).replace(f"{folder}/", "")
    except RecursionError:
        return f"{RECORD}: something in the folder is nested too deeply to be read."
    except (AttributeError, IndexError, KeyError, OSError, TypeError, ValueError) as error:
        return f"{RECORD}: does not fit the other files ({error!r})."


def unreadable(folder: Path) -> list[str]:
    """What in a release folder cannot be read whole, each as a fault: too large, a device, a dead link."""
    faults = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file():
            limit = MAX_SAMPLES_BYTES if name.endswith(".samples.jsonl") else MAX_BYTES
            if (size := path.stat().st_size) > limit:
                faults.append(
                    f"{name}: has {size:,} bytes, and a file of a release has {limit:,} at most; "
                    "nothing was read."
                )
        elif not path.is_dir():
            faults.append(f"{name}: is no file; nothing was read.")
    return faults


def first(faults: list[str]) -> list[str]:
    """The first of the faults of one document, and how many more there are."""
    if len(faults) <= MOST:
        return faults
    name = faults[0].partition(": ")[0]
    return [*faults[:MOST], f"{name}: and {len(faults) - MOST} more"]


def plain(value: Any) -> Any:
    """As JSON gives it back: tuples as lists."""
    return json.loads(canonical_json(value))


def count(of: Any, noun: str) -> str:
    """How many there are, as a person says it: «1 file», «27 files»."""
    number = len(of) if isinstance(of, Sized) else 0
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _printable(text: str) -> str:
    """Lone surrogates, which JSON can hold and no output can print, as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
