"""The command line: exit codes and words for bad input, without a traceback, in a fresh process."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from golden_sets import make_model_folders, write_golden_sets

from flows.cli import guarded

ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """params.yaml, dvc.yaml, recipes and tasks, with empty model folders and without DVC."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("recipes", "evals"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("models", "data"):
        (tmp_path / "examples" / "harbor" / name).mkdir(parents=True)
    make_model_folders(tmp_path)
    write_golden_sets(tmp_path)
    return tmp_path


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run("--version", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("mergegate 0.")


def test_help_names_every_command_with_an_example(tmp_path: Path) -> None:
    top = run("--help", cwd=tmp_path).stdout
    commands = (
        *("release", "judge", "check", "plan", "diagnose", "merge"),
        *("verdict", "status", "rollback", "schedule", "verify", "gate", "power", "ledger"),
        *("reproduce", "serve", "doctor"),
    )
    for name in commands:
        assert name in top
        assert f"mergegate {name}" in run(name, "--help", cwd=tmp_path).stdout


def test_a_release_outside_a_workspace_says_what_is_missing(tmp_path: Path) -> None:
    done = run("release", cwd=tmp_path)
    assert done.returncode == 2
    assert "params.yaml, dvc.yaml: not in this folder" in done.stderr


def test_a_release_without_dvc_says_how_to_get_it(workspace: Path) -> None:
    done = run("release", cwd=workspace)
    assert done.returncode == 2
    assert "Run `dvc init` here" in done.stderr


def test_an_unknown_candidate_names_the_nearest_one(workspace: Path) -> None:
    (workspace / ".dvc").mkdir()
    done = run("release", "tunde", cwd=workspace)
    assert done.returncode == 2
    assert "Did you mean tuned?" in done.stderr


def test_a_policy_for_a_skill_that_is_not_evaluated_stops_before_anything_runs(
    workspace: Path,
) -> None:
    (workspace / ".dvc").mkdir()
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["policy"]["skills"]["jsom"] = params["policy"]["skills"].pop("json")
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    done = run("release", cwd=workspace)
    assert done.returncode == 2
    assert "policy names jsom" in done.stderr
    assert "Did you mean json?" in done.stderr
    assert not (workspace / "build").exists()


def test_a_task_file_that_is_not_there_stops_before_anything_runs(workspace: Path) -> None:
    (workspace / ".dvc").mkdir()
    (workspace / "evals" / "json" / "json.yaml").unlink()
    done = run("release", cwd=workspace)
    assert done.returncode == 2
    assert "evaluate.skills.json.task is evals/json/json.yaml, which does not exist" in done.stderr


@pytest.mark.parametrize("since", ["nonsense", "--output=recipes/harbor-tuned.yaml", ""])
def test_a_revision_is_never_taken_for_an_option_of_git(workspace: Path, since: str) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=workspace, check=True)
    before = (workspace / "recipes" / "harbor-tuned.yaml").read_bytes()
    done = run("judge", f"--since={since}", cwd=workspace)
    assert done.returncode == 2
    assert "not a revision of this repository" in done.stderr
    assert (workspace / "recipes" / "harbor-tuned.yaml").read_bytes() == before


@pytest.mark.parametrize("command", ["check", "merge"])
def test_a_missing_recipe_is_named(command: str, tmp_path: Path) -> None:
    arguments = [command, "nowhere.yaml", *(["out"] if command == "merge" else [])]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere.yaml: no such file" in done.stderr


def test_a_merge_into_a_folder_that_exists_is_refused_and_leaves_it_alone(workspace: Path) -> None:
    (workspace / "out").mkdir()
    (workspace / "out" / "mine").write_text("kept")
    done = run("merge", "recipes/harbor-naive.yaml", "out", cwd=workspace)
    assert done.returncode == 2
    assert "out: exists" in done.stderr
    assert (workspace / "out" / "mine").read_text() == "kept"


def test_an_unknown_option_is_bad_input(tmp_path: Path) -> None:
    assert run("release", "--fast", cwd=tmp_path).returncode == 2


def test_a_bad_cron_line_says_what_it_must_be(workspace: Path) -> None:
    (workspace / ".dvc").mkdir()
    done = run("schedule", "--cron", "every monday", cwd=workspace)
    assert done.returncode == 2
    assert "minute hour day month weekday" in done.stderr


def test_a_schedule_without_a_server_says_how_to_start_one(workspace: Path) -> None:
    (workspace / ".dvc").mkdir()
    done = run("schedule", "--cron", "0 3 * * 1", cwd=workspace)
    assert done.returncode == 6
    assert "prefect server start" in done.stderr


def test_a_schedule_whose_server_does_not_answer_says_so(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / ".dvc").mkdir()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    done = run("schedule", "--cron", "0 3 * * 1", cwd=workspace)
    assert done.returncode == 6
    assert "http://127.0.0.1:9/api, where no Prefect server answers" in done.stderr


def test_a_time_zone_that_does_not_exist_is_not_taken_for_a_bad_cron_line(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / ".dvc").mkdir()
    monkeypatch.setenv("TZ", "Moon/Base")
    done = run("schedule", "--cron", "0 3 * * 1", cwd=workspace)
    assert done.returncode == 2
    assert "TZ is 'Moon/Base'" in done.stderr


def test_status_of_a_registry_that_is_not_there_is_the_environments_fault(tmp_path: Path) -> None:
    done = run("status", "nobody", "--uri", "sqlite:///nowhere/mlflow.db", cwd=tmp_path)
    assert done.returncode in (2, 6)
    assert "nowhere" in done.stderr


def test_a_failure_leaves_standard_output_empty_for_json(workspace: Path) -> None:
    shutil.rmtree(workspace / "examples" / "harbor" / "models")
    done = run("check", "recipes/harbor-naive.yaml", "--json", cwd=workspace)
    assert done.returncode == 2  # its models are not built
    assert done.stdout == ""
    assert "no such folder" in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "mergegate: A file or standard output: No space left on device. Free space, then run the command again.",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "build/x"),
            "mergegate: build/x: Read-only file system.",
        ),
    ],
)
def test_what_the_operating_system_refuses_is_told_in_words(
    error: OSError, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise error

    assert guarded(refused) == 6
    assert capsys.readouterr().err.strip() == words


@pytest.mark.parametrize(
    "arguments", [("status", ""), ("rollback", "m", "--uri", ""), ("verify", "x", "--key", "")]
)
def test_an_empty_argument_is_not_taken_for_one_that_was_left_out(
    arguments: tuple[str, ...], workspace: Path
) -> None:
    done = run(*arguments, cwd=workspace)
    assert done.returncode == 2
    assert "is empty. Name one, or leave it out." in done.stderr


def test_what_the_output_cannot_show_is_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Merge fine-tuned language models" in done.stdout


@pytest.mark.parametrize("end", ["verdict nosuch 2> /dev/full", "--version | true"])
def test_a_reader_that_has_gone_is_no_fault_of_ours(workspace: Path, end: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m flows {end}"],
        cwd=workspace,
        capture_output=True,
        check=False,
    )
    assert done.returncode == (2 if "full" in end else 141)
