"""The commands of the shipped workflows, run as they stand there."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ROOT, clone

pytestmark = pytest.mark.slow

NAIVE = Path("recipes/harbor-naive.yaml")


def step(workflow: str, named: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step of a workflow, by its name, in a workspace; with this Python in place of .venv."""
    content = yaml.safe_load((ROOT / ".github" / "workflows" / workflow).read_text())
    steps = [step for job in content["jobs"].values() for step in job["steps"]]
    (script,) = [step["run"] for step in steps if step.get("name") == named]
    script = script.replace(".venv/bin/mergegate", f"{shlex.quote(sys.executable)} -m flows")
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def repository(released: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The released workspace as a git repository."""
    folder = clone(released["folder"], tmp_path_factory.mktemp("workflows") / "workspace")
    (folder / ".gitignore").write_text("/build/\n/mlflow.db\n/mlruns/\n/examples/harbor/models/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "released")
    return folder


def judged(folder: Path) -> tuple[int, str]:
    """The exit code of the job that judges pull requests, and what it writes into one."""
    done = step("judge.yml", "Judge the candidates that changed", folder, BASE="HEAD")
    return done.returncode, (folder / "verdict.md").read_text(encoding="utf-8")


def test_no_secret_is_committed(repository: Path) -> None:
    assert not [file for file in git(repository, "ls-files").split() if ".mergegate" in file]


def test_a_pull_request_that_touches_no_candidate_judges_none(repository: Path) -> None:
    (repository / NAIVE).write_text((repository / NAIVE).read_text() + "# a comment\n")
    code, said = judged(repository)
    assert (code, said) == (0, "The change touches no candidate, so there is nothing to judge.\n")


def test_a_pull_request_that_changes_a_recipe_gets_its_verdict_alone(repository: Path) -> None:
    recipe = yaml.safe_load((repository / NAIVE).read_text())
    (repository / NAIVE).write_text(yaml.safe_dump({**recipe, "out_dtype": "float32"}))
    code, said = judged(repository)
    assert code == 3
    assert said.startswith("## naive: reject")
    assert "tuned" not in said
    git(repository, "checkout", str(NAIVE))


def test_a_scheduled_release_that_changes_nothing_is_green(repository: Path) -> None:
    done = step("release.yml", "Release", repository, CANDIDATE="")
    assert done.returncode == 0, done.stderr
    assert "Nothing changed since" in done.stdout


def test_a_scheduled_release_of_a_refused_merge_is_red(repository: Path) -> None:
    assert step("release.yml", "Release", repository, CANDIDATE="naive").returncode == 3
