"""The stages of one release in order, and how one is run: through `dvc repro --single-item`.

DVC decides whether a stage must run. What a stage prints goes to .mergegate/logs/STAGE.log.
"""

from __future__ import annotations

import ctypes
import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from flows.stage_progress import forget_progress
from flows.torn_lock import LOCK, mend_lock
from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.facts import read_json
from pipeline.params import Params
from pipeline.private import private_folder
from pipeline.recipe import load_recipe
from pipeline.redaction import redacted
from pipeline.sources import Reference, pin
from pipeline.stages.code import code_of_stages
from pipeline.stages.params import resolved
from pipeline.stages.sources import signer
from pipeline.stages.workspace import (
    BUILD,
    CODE,
    ENVIRONMENT,
    HASHES,
    PARAMS,
    SIGNING,
    SOURCES,
    environment,
    open_reference,
)

LOGS = Path(".mergegate/logs")
FAILURES = Path(".mergegate/failures")

State = Literal["ran", "restored", "unchanged"]

_ADVERTISED = "Having any troubles?"  # how DVC ends the report of a fault of its own
_WORDS = 120


def levels(params: Params, candidate: str) -> list[list[str]]:
    """The stages of a release, level by level; the stages of one level do not need each other."""
    return [
        ["params"],
        ["sources"],
        ["golden", f"check@{candidate}", "champion"],
        ["merge-plain", f"merge@{candidate}", f"diagnose@{candidate}"],
        [
            "evaluate-base",
            *(f"evaluate-expert@{name}" for name in params.experts),
            "evaluate-plain",
            "evaluate-champion",
            f"evaluate-merged@{candidate}",
        ],
        [f"latency@{candidate}"],  # alone, so that nothing disturbs the clock
        [f"ledger@{candidate}"],
        [f"judge@{candidate}"],
        [f"quantize@{candidate}"],
        [f"evaluate-quantized@{candidate}"],
        [f"gate@{candidate}"],
        [f"card@{candidate}"],
    ]


def of_registry(candidate: str) -> tuple[str, ...]:
    """The stages that ask the registry, which DVC does not see."""
    return ("champion", f"ledger@{candidate}")


def unwatched(params: Params, candidate: str) -> list[str]:
    """The stages that must look again whatever DVC says: they read what it does not see.

    It sees what lies below `watch`. A hub's branch or a registry's version can change behind its back, and so can
    mergegate itself and its libraries, whose versions and code `sources` writes down, and the key that signs.
    `params` writes down what params.yaml says.
    """
    recipe = load_recipe(params.recipe(candidate))
    stated = [Reference.parse(text) for text in (params.base, *params.experts.values())]
    read = {"sources": stated, f"check@{candidate}": recipe.references()}
    pinned = {"sources": SOURCES, f"check@{candidate}": BUILD / candidate / "compat.json"}
    found = [
        stage
        for stage, references in read.items()
        if not all(_below(params.watch, reference) for reference in references)
        or _replaced(params, pinned[stage])
    ]
    upgraded = _differs(ENVIRONMENT, environment()) or _differs(CODE, code_of_stages(params))
    # Asked for here, so that whoever runs the release sees the warning about a key made at first use.
    signs = signer()
    rekeyed = SIGNING.is_file() and read_json(SIGNING) != signs
    # Before DVC is asked what is stale, since other stages depend on keys of its output.
    edited = ["params"] if _differs(PARAMS, resolved(params)) else []
    return list(dict.fromkeys([*edited, *(["sources"] if upgraded or rekeyed else []), *found]))


def _replaced(params: Params, pinned: Path) -> bool:
    """Whether a source is no longer as a stage pinned it: DVC takes a file of the same size and time for the same.

    Files are recognised by size, times and inode, so that this takes no time where nothing changed.
    """
    if not pinned.is_file():
        return False
    try:
        return any(
            pin(open_reference(text, params.registry_uri), HASHES)["digest"] != before["digest"]
            for text, before in read_json(pinned)["pins"].items()
            if _below(params.watch, Reference.parse(text))
        )
    except (MergegateError, OSError, KeyError, TypeError):
        return True  # the stage has the words for what is wrong


def _differs(path: Path, value: Any) -> bool:
    return not path.is_file() or read_json(path) != value


def _below(folder: Path, reference: Reference) -> bool:
    """Whether model and adapter are folders in `folder`."""
    parts = [reference.model, *([reference.adapter] if reference.adapter else [])]
    return all(
        Path(p).is_dir() and Path(p).resolve().is_relative_to(folder.resolve()) for p in parts
    )


def stale(stages: list[str]) -> set[str]:
    """The stages that `dvc status` does not find up to date."""
    done = _dvc("status", "--json", *stages)
    if done.returncode:
        raise _dvc_failure("dvc status", done.stdout)
    return set(json.loads(done.stdout.strip().splitlines()[-1]))


def reproduce(stage: str, *, force: bool = False) -> State:
    """Run one stage if DVC finds it out of date (or `force`). Raises what the stage reported."""
    failure = FAILURES / f"{stage}.json"
    failure.unlink(missing_ok=True)
    forget_progress(stage)
    done = _dvc("repro", "--single-item", *(["--force"] if force else []), stage)
    if done.returncode:
        with suppress(OSError):  # on a full disk the stage's own words matter more than its log
            _keep_log(stage, done.stdout)
        raise _failure(stage, failure, done.stdout)
    _keep_log(stage, done.stdout)
    if "Running stage" in done.stdout:
        return "ran"
    return "restored" if "skipping run" in done.stdout else "unchanged"


def _keep_log(stage: str, output: str) -> None:
    private_folder(LOGS)
    (LOGS / f"{stage}.log").write_text(redacted(output), encoding="utf-8")


def _dvc(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of DVC; once more where a torn dvc.lock stopped it and could be mended.

    DVC reads the file under its own lock, so no other DVC is in the middle of writing what it cannot read.
    """
    done = _run_dvc(command, *arguments)
    if done.returncode and LOCK.name in done.stdout and mend_lock():
        done = _run_dvc(command, *arguments)
    return done


def _run_dvc(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        preexec_fn=die_with_parent,
    )


def die_with_parent() -> None:
    """On Linux, end when the release is killed, so that a second one does not meet the first one's stages."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _failure(stage: str, report: Path, output: str) -> MergegateError:
    if not report.is_file():
        # On a full disk it cannot report; DVC passes on what it printed, between its command and DVC's own error.
        printed = output.partition("\n> ")[2].partition("\n")[2].partition("\nERROR: ")[0]
        return (
            EnvironmentFault(redacted(" ".join(printed.split())))
            if printed.strip()
            else _dvc_failure(f"stage {stage}", output)
        )
    found = json.loads(report.read_text(encoding="utf-8"))
    kinds = {2: InputError, 6: EnvironmentFault}
    return kinds.get(found["exit_code"], MergegateError)(found["message"])


def _dvc_failure(what: str, output: str) -> MergegateError:
    """DVC itself failed: its own last words are the best description there is."""
    words = redacted(_last_words(output))
    if f"{LOCK}' validation failed" in output or f"{LOCK}' is invalid" in output:
        return InputError(
            f"{LOCK}: DVC cannot read it ({what}): {words} Take it from git (`git checkout {LOCK}`), resolve what "
            "a merge left in it, or move it away: then stages are looked up in DVC's cache or run again."
        )
    if "is not a git repository" in output:
        return InputError(
            "DVC expects a git repository here, and there is none. Run `git init`, or "
            "`dvc config core.no_scm true` to do without git."
        )
    if "is git-ignored" in output:
        return InputError(
            f"{LOCK}: git ignores it, and DVC does not write a file that would be lost. "
            "Take it out of .gitignore or .git/info/exclude."
        )
    if "is invalid" in output or "extra keys not allowed" in output:
        return InputError(f"dvc.yaml: DVC cannot read it ({what}): {words}")
    return EnvironmentFault(f"{what}: DVC failed: {words}")


def _last_words(output: str) -> str:
    """DVC's errors with the lines that belong to them, such as who blocks a path; without errors, its last words."""
    lines = [line for line in output.splitlines() if not line.startswith(_ADVERTISED)]
    first = next((n for n, line in enumerate(lines) if line.startswith("ERROR")), None)
    if first is None:
        return " ".join(" ".join(lines).split()[-_WORDS:])
    return " ".join(" ".join(lines[first:]).split()[:_WORDS])
