"""A small share of what benchmarks/survive.py does: three kills and one changed byte, over real stages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from survive_faults import flip
from survive_invariants import digests, faults, has_champion, versions
from survive_moments import Moment, reached
from survive_run import REGISTER, Run, server
from survive_workspace import CANDIDATES, Workspace, make

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="process groups are followed through /proc"),
]
FIRST = CANDIDATES[0]
MOMENTS = (
    Moment("stage", "merge", 1.0),
    Moment("stage", "evaluate-merged", 1.0),
    Moment("writes", REGISTER, 2),
)


def merged_alone(workspace: Workspace) -> bytes:
    """The weights that `mergegate merge` writes, undisturbed."""
    out = workspace.folder / "alone"
    command = [sys.executable, "-m", "flows", "--quiet", "merge", f"{FIRST}.yaml", str(out)]
    subprocess.run(command, cwd=workspace.folder, env=dict(workspace.env), check=True)
    return (out / "model.safetensors").read_bytes()


def test_killed_three_times_and_corrupted_once_a_release_ends_whole(tmp_path: Path) -> None:
    workspace = make(tmp_path, experts=["lora0"])
    log = tmp_path / "run.log"
    with server(workspace, tmp_path) as env:
        for moment in MOMENTS:
            run = Run(workspace, FIRST, log, env)
            assert reached(run, moment), f"it ended before {moment}: {run.words()}"
            assert run.kill() == [], "processes outlived the release"
            # Nothing can be the champion yet, so whatever is one was not released whole.
            assert faults(workspace, champion_expected=False, known={}) == []
        assert not has_champion(workspace)

        run = Run(workspace, FIRST, log, env)
        assert run.wait() == 0, run.words()
        before = digests(workspace, FIRST)
        assert before["quantized"] == before["bytes"]
        known = {before["release_digest"]: before["quantized"]}
        assert faults(workspace, champion_expected=True, known=known) == []
        kinds = [version["tags"]["mergegate.kind"] for version in versions(workspace)]
        assert kinds == ["unmerged", "merge"]
        weights = workspace.folder / "build" / FIRST / "merged" / "model.safetensors"
        assert weights.read_bytes() == merged_alone(workspace)

        flip(weights)
        run = Run(workspace, FIRST, log, env)
        assert run.wait() == 0, run.words()
        assert digests(workspace, FIRST) == before
        assert faults(workspace, champion_expected=True, known=known) == []
        assert len(versions(workspace)) == len(kinds)
