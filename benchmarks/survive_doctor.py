"""What killed releases left lying about, and whether `mergegate doctor` names it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from survive_invariants import versions
from survive_workspace import Workspace


def unnamed_orphans(workspace: Workspace, scratch: Path) -> list[str]:
    """Orphans whose name is nowhere in what the doctor prints; all of them where there is no doctor."""
    left = orphans(workspace, scratch)
    if not left:
        return []
    age(workspace, left)
    words = doctor(workspace)
    return [f"orphan that the doctor does not name: {o}" for o in left if Path(o).name not in words]


def orphans(workspace: Workspace, scratch: Path) -> list[str]:
    """Logged models without a version, artifacts without a logged model, half-written folders, scratch."""
    found = [
        str(path)
        for kind in ("*.part", "*.old")
        for top in ("build", ".mergegate")
        for path in sorted((workspace.folder / top).rglob(kind))
    ]
    found += [str(path) for path in scratch.glob(".mergegate-scratch-*")]
    database = workspace.folder / "mlflow.db"
    if not database.is_file():
        return found
    used = {version["tags"].get("mergegate.model_id") for version in versions(workspace)}
    with closing(sqlite3.connect(database, timeout=30)) as store:
        rows = store.execute(
            "select model_id, artifact_location, lifecycle_stage from logged_models"
        ).fetchall()
    # Deleted ones are MLflow's to remove, by `mlflow gc`.
    found += [name for name, _, stage in rows if name not in used and stage == "active"]
    models = {name: location for name, location, _ in rows}
    kept = {Path(str(at).removeprefix("file://")).parent for at in models.values()}
    return found + [
        str(path)
        for root in ("mlruns", "mlartifacts")
        for path in (workspace.folder / root).glob("*/models/m-*")
        if path not in kept
    ]


def age(workspace: Workspace, left: list[str]) -> None:
    """Make orphans two hours older: of what is young, the doctor supposes that a release is at it."""
    then = time.time() - 7200
    for name in left:
        if Path(name).exists():
            os.utime(name, (then, then))
    database = workspace.folder / "mlflow.db"
    if not database.is_file():
        return
    with closing(sqlite3.connect(database, timeout=30)) as store, store:
        for name in left:
            store.execute(
                "update logged_models set creation_timestamp_ms = ?, last_updated_timestamp_ms = ? "
                "where model_id = ?",
                (int(then * 1000), int(then * 1000), name),
            )


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
