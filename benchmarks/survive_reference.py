"""What undisturbed releases give, kept workspaces to start from, and the comparison of a run with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import survive_invariants as invariants
import survive_workspace
import yaml
from survive_doctor import unnamed_orphans
from survive_moments import durations
from survive_run import Run
from survive_workspace import CANDIDATES, Workspace

FIRST, SECOND = CANDIDATES
EMPTY, AFTER_FIRST, AFTER_SECOND = "empty", f"after-{FIRST}", f"after-{SECOND}"

_OUTPUTS = {"merge": "merged", "quantize": "quantized"}


@dataclass
class Reference:
    """What undisturbed releases gave: digests, and seconds by stage, for each candidate."""

    digests: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def shipped(self) -> dict[str, str]:
        """The digest of the shipped files by release digest."""
        return {one["release_digest"]: one["quantized"] for one in self.digests.values()}


def prepare(work: Path, root: Path, say: Callable[[str], None]) -> tuple[Workspace, Reference]:
    """The workspace, and two undisturbed releases of it; made once for each WORK."""
    stored = work / "reference.json"
    if stored.is_file():
        return survive_workspace.existing(work), Reference(**json.loads(stored.read_text("utf-8")))
    workspace, reference = survive_workspace.make(work, root), Reference()
    keep(workspace, work / EMPTY)
    for candidate in CANDIDATES:
        run = Run(workspace, candidate, work / f"{candidate}.log")
        if (code := run.wait()) != 0:
            raise SystemExit(
                f"{run.log}: the undisturbed release ended with {code}:\n{run.words()}"
            )
        reference.digests[candidate] = invariants.digests(workspace, candidate)
        reference.seconds[candidate] = durations(run.words(), candidate)
        say(f"undisturbed release of {candidate}: {run.seconds:.0f} s")
        keep(workspace, work / f"after-{candidate}")
    stored.write_text(json.dumps(asdict(reference), indent=1), encoding="utf-8")
    return workspace, reference


def keep(workspace: Workspace, where: Path) -> None:
    """Copy the workspace as it is, times and all."""
    shutil.copytree(workspace.folder, where, symlinks=True)


def restore(workspace: Workspace, work: Path, state: str) -> None:
    """Put a kept workspace back in its place: the registry refers to its artifacts by absolute path."""
    shutil.rmtree(workspace.folder, ignore_errors=True)
    # A mount point cannot be removed, and is empty by now.
    shutil.copytree(work / state, workspace.folder, symlinks=True, dirs_exist_ok=True)
    for left in (work / "scratch").iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def restore_before(workspace: Workspace, work: Path, stage: str) -> None:
    """A workspace in which the second candidate is released but for `stage`, or for its registration.

    Registry and journal are those that have the first candidate only.
    """
    restore(workspace, work, AFTER_SECOND)
    folder = workspace.folder
    for kept in (folder, work / AFTER_FIRST):
        registry = [*kept.glob("mlflow.db*"), kept / "mlruns", kept / ".mergegate" / "journal"]
        for path in filter(Path.exists, registry):
            if kept == folder:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            elif path.is_dir():
                shutil.copytree(path, folder / path.relative_to(kept))
            else:
                shutil.copy2(path, folder / path.relative_to(kept))
    if output := _OUTPUTS.get(stage):
        shutil.rmtree(folder / "build" / SECOND / output)
        # DVC would bring it back by either of these.
        shutil.rmtree(folder / ".dvc" / "cache" / "runs")
        lock = folder / "dvc.lock"
        entries = yaml.safe_load(lock.read_text("utf-8"))
        del entries["stages"][f"{stage}@{SECOND}"]
        lock.write_text(yaml.safe_dump(entries, sort_keys=False), "utf-8")


def ended(run: Run, candidate: str, reference: Reference) -> dict[str, Any]:
    """What a run that is let finish leaves: exit code, digests, registry, and orphans without a name."""
    code, wrong = run.wait(), []
    if code:
        wrong.append(f"exit code {code}: {run.words()[-2000:]}")
    else:
        found = invariants.digests(run.workspace, candidate)
        expected = reference.digests[candidate]
        wrong += [f"{key} differs" for key in expected if found[key] != expected[key]]
        wrong += invariants.faults(run.workspace, champion_expected=True, known=reference.shipped)
        wrong += unnamed_orphans(run.workspace, run.log.parent / "scratch")
    return {"candidate": candidate, "exit": code, "seconds": round(run.seconds, 1), "faults": wrong}
