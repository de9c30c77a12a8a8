"""dvc.lock after a release that was killed while DVC wrote it: DVC writes it in place, and reads no part of one."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import yaml

from pipeline.facts import write_text

LOCK = Path("dvc.lock")
_ENTRY = re.compile(r"^  \S", re.M)  # a stage; all that belongs to it is deeper


def mend_lock(path: Path = LOCK) -> bool:
    """Take the entry at which the file breaks off out of it, and say so; whether that made it whole.

    What DVC can read, or what is broken elsewhere, such as a merge of git's that was not resolved, stays as it is.
    The stage whose entry is gone, and those that were after it, are looked up in DVC's cache of runs or run again.
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return False
    if _whole(text):
        return False
    entries = [found.start() for found in _ENTRY.finditer(text)]
    kept = text[: entries[-1]] if len(entries) > 1 else ""
    if not (_whole(kept) if kept else _begun(text)):
        return False
    if kept:
        write_text(path, kept)
    else:
        path.unlink()
    sys.stderr.write(
        f"mergegate: {path} broke off in the middle, as a run leaves it that is killed while DVC writes it. "
        f"{len(entries[:-1])} whole entries of it were kept; the other stages are looked up or run again.\n"
    )
    return True


def _whole(text: str) -> bool:
    """Whether DVC reads it."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text))
    except (yaml.YAMLError, Invalid):
        return False
    return True


def _begun(text: str) -> bool:
    """Whether it is the first part of a lock file, up to some point within its first entry."""
    head = "schema: '2.0'\nstages:\n"
    return head.startswith(text) or text.startswith(head)
