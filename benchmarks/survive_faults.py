"""Faults other than a kill: a registry that goes away, and bytes that change where nobody looks.

Each scenario starts from a kept workspace, lets the release meet the fault, takes the fault away, and lets one more
run finish: it must end as the undisturbed one. A full disk is in survive_disk.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from survive_disk import disk_full, last_line
from survive_moments import Moment, reached
from survive_reference import AFTER_FIRST, FIRST, SECOND, Reference, ended, restore, restore_before
from survive_run import REGISTER, Run, free_port, wait_for
from survive_workspace import Workspace

Say = Callable[[str], None]
Result = dict[str, Any]
ENVIRONMENT_FAILED, BAD_INPUT = 6, 2

# What is corrupted: files by pattern, and what is removed besides, so that they are read again.
_WEIGHTS = "build/first/merged/*.safetensors"
CORRUPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "merged weights": (_WEIGHTS, ()),
    "quantized weights": ("build/first/quantized/*.safetensors", ()),
    "scores": ("build/evals/base.samples.jsonl", ()),
    "release folder": ("build/first/release/release.json", ()),
    "dvc.lock": ("dvc.lock", ()),
    "DVC's cache": (".dvc/cache/files/md5/*/*", ("build",)),
    "kept evaluations": (".mergegate/evaluations/*/result.json", ("build/evals", ".dvc/cache")),
    "known digests": (".mergegate/hashes.json", ("build/sources.json", ".dvc/cache")),
}


def run_faults(
    workspace: Workspace, work: Path, reference: Reference, names: list[str], say: Say
) -> list[Result]:
    """Every fault whose name begins with one of `names`; all where there is none."""
    scenarios: dict[str, Callable[[], Result]] = {
        "disk full at merge": partial(disk_full, work, "merge", 0),
        "disk full at quantize": partial(disk_full, work, "quantize", 0),
        "disk full at register": partial(disk_full, work, REGISTER, 0),
        # Enough for the database, not for the model beside it.
        "disk full among artifacts": partial(disk_full, work, REGISTER, 150_000),
        "registry locked": partial(locked, workspace, work, reference),
        "registry stopped": partial(stopped, workspace, work, reference),
        "torn dvc.lock": partial(torn, workspace, work, reference),
        **{
            f"corrupted {what}": partial(corrupted, workspace, work, reference, what)
            for what in CORRUPTIONS
        },
    }
    found = []
    for name, scenario in scenarios.items():
        if names and not name.startswith(tuple(names)):
            continue
        result = {"fault": name, **scenario()}
        found.append(result)
        say(f"{name}: {'; '.join(result['faults']) or result['outcome']}")
    return found


def locked(workspace: Workspace, work: Path, reference: Reference) -> Result:
    """Another process holds the lock of the registry's database while the release registers."""
    restore_before(workspace, work, REGISTER)
    run = Run(workspace, SECOND, work / "run.log")
    if not reached(run, Moment("stage", REGISTER, 0)):
        return {"outcome": "never locked", "faults": [f"it ended before: {last_line(run.words())}"]}
    database = sqlite3.connect(workspace.folder / "mlflow.db", timeout=60, isolation_level=None)
    with contextlib.closing(database):
        database.execute("begin exclusive")
        code = run.wait()
    return _again(run, SECOND, reference, code)


def stopped(workspace: Workspace, work: Path, reference: Reference) -> Result:
    """The MLflow server of the registry is killed after two writes of the registration, and comes back afterwards."""
    restore_before(workspace, work, REGISTER)
    port = free_port()
    params = workspace.folder / "params.yaml"
    value = yaml.safe_load(params.read_text("utf-8"))
    value["registry"]["uri"] = f"http://127.0.0.1:{port}"
    params.write_text(yaml.safe_dump(value, sort_keys=False), "utf-8")
    with mlflow_server(workspace, work, port):
        run = Run(workspace, SECOND, work / "run.log")
        if not reached(run, Moment("writes", REGISTER, 2)):
            said = f"it ended before: {last_line(run.words())}"
            return {"outcome": "never stopped", "faults": [said]}
    code = run.wait()
    with mlflow_server(workspace, work, port):
        return _again(run, SECOND, reference, code)


def corrupted(workspace: Workspace, work: Path, reference: Reference, what: str) -> Result:
    """One byte in the middle of every such file is changed after a release; the next one finds it or makes it anew."""
    restore(workspace, work, AFTER_FIRST)
    pattern, removed = CORRUPTIONS[what]
    files = [path for path in workspace.folder.glob(pattern) if path.is_file()]
    if not files:
        return {"outcome": "nothing to corrupt", "faults": [f"no file is {pattern}"]}
    for file in files:
        falsify(file) if file.name == "hashes.json" else flip(file)
    for name in removed:
        path = workspace.folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run = Run(workspace, FIRST, work / "run.log")
    if run.wait() == 0:
        found = ended(run, FIRST, reference)
        return {"outcome": "found or made anew, as undisturbed", "faults": found["faults"]}
    # Refusing in words is right as well, where the next run ends whole.
    return _again(run, FIRST, reference, run.wait(), (BAD_INPUT, ENVIRONMENT_FAILED))


def torn(workspace: Workspace, work: Path, reference: Reference) -> Result:
    """dvc.lock as a run leaves it that is killed while DVC writes it: empty, and cut off within an entry."""
    wrong = []
    for part in (0.0, 0.5):
        restore(workspace, work, AFTER_FIRST)
        lock = workspace.folder / "dvc.lock"
        text = lock.read_text("utf-8")
        lock.write_text(text[: int(part * len(text))], "utf-8")
        found = ended(Run(workspace, FIRST, work / "run.log"), FIRST, reference)
        wrong += [f"cut off at {part:.0%}: {fault}" for fault in found["faults"]]
    return {"outcome": "mended, as undisturbed", "faults": wrong}


def falsify(hashes: Path) -> None:
    """Every digest that the file remembers becomes another one, well-formed."""
    kept = json.loads(hashes.read_text("utf-8"))
    kept["known"] = {key: digest[::-1] for key, digest in kept["known"].items()}
    hashes.write_text(json.dumps(kept), "utf-8")


def flip(file: Path) -> None:
    """Change one bit of the byte in the middle, of a hexadecimal digit where there is one near: JSON stays JSON."""
    data = bytearray(file.read_bytes() or b"\0")
    at = len(data) // 2
    digits = (i for i in range(at, min(at + 400, len(data))) if chr(data[i]) in "02468")
    at = next(digits, at)
    data[at] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)


def _again(
    run: Run,
    candidate: str,
    reference: Reference,
    code: int,
    right: tuple[int, ...] = (ENVIRONMENT_FAILED,),
) -> Result:
    """How a run took its fault, and one more run without the fault."""
    said = last_line(run.words())
    wrong = [] if code in right else [f"exit code {code} instead of {right}: {said}"]
    again = ended(Run(run.workspace, candidate, run.log), candidate, reference)
    return {
        "outcome": f"exit {code} («{said}»), then as undisturbed",
        "faults": wrong + again["faults"],
    }


@contextlib.contextmanager
def mlflow_server(workspace: Workspace, work: Path, port: int) -> Iterator[None]:
    """An MLflow server of the workspace's database; artifacts are written by its clients, where they were."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", workspace.uri, "--workers", "1", "--no-serve-artifacts"]
    command += ["--default-artifact-root", str(workspace.folder / "mlruns")]
    with (work / "mlflow.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=workspace.folder,
            env=dict(workspace.env),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
