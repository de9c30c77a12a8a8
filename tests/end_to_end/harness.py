"""Commands in fresh processes, and workspaces to run them in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SHIPPED = ("params.yaml", "dvc.yaml", "evals", "recipes", "examples")


def command(
    *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `mergegate` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def dvc(*arguments: str, cwd: Path) -> str:
    """Run DVC; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def new_workspace(folder: Path) -> Path:
    """A folder with the shipped pipeline and an initialised DVC, without built models."""
    folder.mkdir(parents=True)
    built = shutil.ignore_patterns("models", "data", "__pycache__", "dvc.lock")
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=built)
        else:
            shutil.copy(source, folder / name)
    dvc("init", "--no-scm", "--quiet", cwd=folder)
    return folder


def clone(workspace: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a workspace, with other values for some keys of params.yaml.

    Without what a command that runs in the original just now may remove.
    """
    passing = shutil.ignore_patterns(".*.part", "lock", "tmp", "progress")
    shutil.copytree(workspace, folder, symlinks=True, ignore=passing)
    change_params(folder, **changes)
    return folder


def change_params(workspace: Path, **changes: Any) -> None:
    """Set top-level keys of params.yaml."""
    path = workspace / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8")) | changes
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def report(done: subprocess.CompletedProcess[str]) -> Any:
    """What a command with --json printed."""
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def kill_during(stage: str, workspace: Path, env: dict[str, str]) -> bool:
    """Start a release and kill it (SIGKILL) when `stage` runs; False where it ended before."""
    log = workspace / f"{stage}.killed.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows", "--quiet", "release", "tuned"],
            cwd=workspace,
            env={**os.environ, **env},
            stdout=output,
            stderr=output,
        )
        while process.poll() is None:
            if _runs(stage, workspace):
                process.send_signal(signal.SIGKILL)
                process.wait()
                return True
            time.sleep(0.02)
    return False


def _runs(stage: str, workspace: Path) -> bool:
    """Whether a process of this workspace runs the stage."""
    wanted = ["-m", "pipeline.stages", stage]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
            here = (entry / "cwd").readlink() == workspace.resolve()
        except OSError:
            continue
        if here and words[1:4] == wanted:
            return True
    return False
