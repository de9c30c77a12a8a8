"""A workspace on a file system that is full from a chosen moment on: a tmpfs in a mount namespace of its own.

Run as a program by `disk_full`, within `unshare --map-root-user --mount`, which needs no privileges where user
namespaces are allowed; elsewhere the scenario is skipped, in words.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from survive_moments import Moment, reached
from survive_reference import AFTER_SECOND, SECOND, ended, prepare, restore_before
from survive_run import Run

ENVIRONMENT_FAILED = 6
ROOM = 192 * 2**20  # free before the disk is filled: a merge asks for 64 MB to begin
_NAMESPACE = ["unshare", "--map-root-user", "--mount"]
_WORDS = ("no space left", "disk is full", "disk full", "free space")


def skipped() -> str:
    """Why no file system can be mounted here; empty where it can."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` here"
    trial = [*_NAMESPACE, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    return f"no tmpfs may be mounted: {done.stderr.strip()}" if done.returncode else ""


def disk_full(work: Path, stage: str, free: int) -> dict[str, Any]:
    """The disk has only `free` bytes left once `stage` runs; later it has room, and the release is run again."""
    if why := skipped():
        return {"outcome": f"skipped: {why}", "faults": []}
    command = [*_NAMESPACE, sys.executable, __file__, str(work), stage, str(free)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {
            "outcome": "broke off",
            "faults": [f"{' '.join(command)} ended with {done.returncode}"],
        }
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def within(work: Path, stage: str, free: int) -> dict[str, Any]:
    """The scenario, once the namespace is there."""
    workspace, reference = prepare(work, work, print)
    size = sum(p.stat().st_blocks * 512 for p in (work / AFTER_SECOND).rglob("*") if p.is_file())
    shutil.rmtree(workspace.folder, ignore_errors=True)
    workspace.folder.mkdir()
    options = f"size={size + ROOM}"
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(workspace.folder)], check=True
    )
    restore_before(workspace, work, stage)
    run = Run(workspace, SECOND, work / "run.log")
    if not reached(run, Moment("stage", stage, 0)):
        return {
            "outcome": "never full",
            "faults": [f"it ended before {stage}: {run.words()[-500:]}"],
        }
    ballast = workspace.folder / "ballast"
    fill(ballast, free)
    code, words = run.wait(), run.words()
    ballast.unlink()
    wrong = told(code, words)
    again = ended(Run(workspace, SECOND, work / "run.log"), SECOND, reference)
    return {
        "outcome": f"exit {code} («{last_line(words)}»), then as undisturbed",
        "faults": wrong + again["faults"],
    }


def fill(ballast: Path, free: int) -> None:
    """Write until no more fits, then give `free` bytes back."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**16))
    with ballast.open("rb+") as file:
        file.truncate(max(0, ballast.stat().st_size - free))


def told(code: int, words: str) -> list[str]:
    """What is wrong with how the command took it: it must end with 6 and speak of the full disk."""
    wrong = [] if code == ENVIRONMENT_FAILED else [f"exit code {code} instead of 6"]
    if not any(word in last_line(words).lower() for word in _WORDS):
        wrong.append(f"its last words are not of a full disk: {last_line(words)}")
    return wrong + ["a traceback instead of words"] * ("Traceback" in last_line(words))


def last_line(words: str) -> str:
    """What the command itself said last, without the lines of Prefect's log."""
    said = [line for line in words.splitlines() if line.startswith("mergegate:")]
    return said[-1][:500] if said else words.strip()[-500:]


if __name__ == "__main__":
    print(json.dumps(within(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
