"""What killed releases left lying about, and whether `mergegate doctor` names it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from survive_invariants import versions
from survive_workspace import Workspace


def unnamed_orphans(workspace: Workspace, scratch: Path) -> list[str]:
    """Orphans whose name is nowhere in what the doctor prints; all of them where there is no doctor."""
    left = orphans(workspace, scratch)
    if not left:
        return []
    words = doctor(workspace)
    return [f"orphan that the doctor does not name: {o}" for o in left if Path(o).name not in words]


def orphans(workspace: Workspace, scratch: Path) -> list[str]:
    """Logged models without a version, artifacts without a logged model, half-written folders, scratch."""
    found = [str(path) for path in (workspace.folder / "build").rglob("*.part")]
    found += [str(path) for path in scratch.glob("mergegate-*")]
    database = workspace.folder / "mlflow.db"
    if not database.is_file():
        return found
    used = {version["tags"].get("mergegate.model_id") for version in versions(workspace)}
    with closing(sqlite3.connect(database, timeout=30)) as store:
        models = dict(
            store.execute("select model_id, artifact_location from logged_models").fetchall()
        )
    found += [name for name in models if name not in used]
    kept = {Path(str(at).removeprefix("file://")).parent for at in models.values()}
    return found + [
        str(path)
        for root in ("mlruns", "mlartifacts")
        for path in (workspace.folder / root).glob("*/models/m-*")
        if path not in kept
    ]


def doctor(workspace: Workspace) -> str:
    """What `mergegate doctor --json` prints, on both streams."""
    done = subprocess.run(
        [sys.executable, "-m", "flows", "doctor", "--json"],
        cwd=workspace.folder,
        env=dict(workspace.env),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return done.stdout + done.stderr
