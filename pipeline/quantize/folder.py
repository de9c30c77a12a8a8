"""A folder that appears under its name only when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import InputError
from pipeline.facts import read_json


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` to write into; it takes the name when the block ends well.

    An older `out` is lost only after it is replaced. What a killed run left behind, the next one
    removes: the names are fixed, so one run at a time. Raises InputError where `out` is a folder
    that no run of ours can have written.
    """
    part = out.with_name(f".{out.name}.part")
    old = out.with_name(f".{out.name}.old")
    if old.exists() and not out.exists():  # killed between the two renames below
        old.rename(out)
    _check_replaceable(out)
    for leftover in (part, old):
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        _sync(part)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    if out.exists():
        out.rename(old)
    part.rename(out)
    _sync_one(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _check_replaceable(out: Path) -> None:
    """Only an empty folder, a quantized model, or the note that a stage left instead of one."""
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if not out.is_symlink():
        if not out.exists() or (out.is_dir() and names <= {"SKIPPED.md"}):
            return
        if "config.json" in names and "quantization_config" in read_json(out / "config.json"):
            return
    raise InputError(
        f"{out}: exists and is not a quantized model, so it is not replaced. "
        "Remove it yourself, or name another folder."
    )


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
