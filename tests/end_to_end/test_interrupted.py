"""A release that is killed in the middle of any stage goes on, and ends as one that ran through."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness import clone, command, report
from mlflow import MlflowClient

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("end_to_end")]

STAGES = (
    "sources",
    "check",
    "merge",
    "evaluate",
    "latency",
    "judge",
    "quantize",
    "gate",
    "card",
)


def digests(workspace: Path) -> dict[str, Any]:
    """What identifies a release: the release digest, and the bytes that ship."""
    record = json.loads((workspace / "build/tuned/release/release.json").read_text())
    return {"release": record["release_digest"], "files": record["quantized_files"]}


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


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc to find the running stage")
def test_a_release_killed_in_every_stage_ends_with_the_same_digests_and_one_version(
    refused: dict[str, Any], released: dict[str, Any], tmp_path: Path, server: dict[str, str]
) -> None:
    workspace = clone(refused["folder"], tmp_path / "workspace")
    killed = [stage for stage in STAGES if kill_during(stage, workspace, server)]
    assert killed == list(STAGES)
    assert not list((workspace / "build").rglob("*.part/*.safetensors"))

    done = command("--quiet", "release", "tuned", "--json", cwd=workspace, env=server)
    assert done.returncode == 0, done.stderr
    assert report(done)["outcome"] == "promote"
    assert digests(workspace) == digests(released["folder"])
    client = MlflowClient(f"sqlite:///{workspace}/mlflow.db")
    kinds = [
        version.tags["mergegate.kind"]
        for version in client.search_model_versions("name = 'harbor-support'")
    ]
    assert sorted(kinds) == ["merge", "unmerged"]
