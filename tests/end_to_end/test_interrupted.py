"""A release that is killed in the middle of any stage goes on, and ends as one that ran through."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import clone, command, kill_during, report
from mlflow import MlflowClient

pytestmark = pytest.mark.slow

STAGES = (
    "sources",
    "check",
    "merge",
    "diagnose",
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


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc to find the running stage")
def test_a_release_killed_in_every_stage_ends_with_the_same_digests_and_one_version(
    refused: dict[str, Any], released: dict[str, Any], tmp_path: Path, server: dict[str, str]
) -> None:
    workspace = clone(refused["folder"], tmp_path / "workspace")
    # Something new below `watch`, so that the sources are looked at again.
    (workspace / "examples" / "harbor" / "models" / "note.txt").write_text("new")
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
