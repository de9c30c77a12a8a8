"""`mergegate ledger`: what it says of golden sets and of those who were judged on them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app, guarded
from pipeline.facts import write_text
from pipeline.release.ledger import Judgement, append

ROOT = Path(__file__).parents[2]
JSON, TONE = "a" * 64, "b" * 64  # digests of golden sets
MORNING = 1_795_341_600_000  # 2026-11-22 10:00 UTC


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which two candidates were judged, one of them twice."""
    folder = tmp_path_factory.mktemp("registry")
    sets = {"json": JSON, "tone": TONE}
    for number, (name, outcome, policy) in enumerate(
        [("naive", "reject", "p1"), ("tuned", "reject", "p1"), ("tuned", "promote", "p2")]
    ):
        entry = Judgement(
            candidate=name,
            outcome=outcome,
            weights={"merged": f"merge-of-{name}"},
            golden=sets,
            recipe=f"recipe-{name}",
            policy=policy,
            fixed_policy=policy,
            when=MORNING + number * 60_000,
        )
        append(f"sqlite:///{folder}/mlflow.db", "harbor-support", entry)
    return folder


@pytest.fixture
def workspace(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, whose policy allows three candidates on the set of json."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(registry / "mlflow.db", tmp_path)
    seal(3)
    return tmp_path


def seal(uses: int) -> None:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    # Absolute: MLflow keeps the file that a relative one meant when it was first used.
    content["registry"] = {"uri": f"sqlite:///{Path.cwd()}/mlflow.db"}
    content["policy"]["sealed"] = {"json": {"golden": JSON, "uses": uses}}
    write_text(Path("params.yaml"), yaml.safe_dump(content))


def ledger(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["ledger", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_says_what_is_left_of_each_golden_set(workspace: Path) -> None:
    shown = ledger()
    assert "harbor-support: 3 judgements" in shown
    assert "json aaaaaaaaaaaa  2 candidates judged, 1 of 3 uses left" in shown
    assert "tone bbbbbbbbbbbb  2 candidates judged; the policy states no limit" in shown


def test_it_says_when_a_set_is_used_up(workspace: Path) -> None:
    seal(2)
    assert "2 candidates judged: used up after 2; fresh examples are due" in ledger()
    seal(1)
    assert "2 candidates judged, 1 more than the policy allows: used up after 1" in ledger()


def test_it_lists_who_was_judged_when_and_with_what_outcome(workspace: Path) -> None:
    rows = [line.split() for line in ledger().splitlines() if line.startswith("2026-11-22")]
    assert [row[1:4] for row in rows] == [
        ["10:00", "naive", "reject"],
        ["10:01", "tuned", "reject"],
        ["10:02", "tuned", "promote"],
    ]
    assert rows[0][-2:] == ["json:aaaaaa", "tone:bbbbbb"]


def test_as_json_it_has_whole_digests(workspace: Path) -> None:
    report = json.loads(ledger("--json"))
    assert [found["digest"] for found in report["golden_sets"]] == [JSON, TONE]
    assert report["golden_sets"][0]["first"] == "2026-11-22T10:00:00+00:00"
    first = report["judgements"][0]
    assert first["when"] == "2026-11-22T10:00:00+00:00"
    assert first["weights"] == {"merged": "merge-of-naive"}
    assert first["golden"] == {"json": JSON, "tone": TONE}
    assert len(first["digest"]) == 64


def test_without_params_yaml_nothing_is_said_of_what_a_policy_allows(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{workspace}/mlflow.db"
    (workspace / "elsewhere").mkdir()
    monkeypatch.chdir(workspace / "elsewhere")
    shown = ledger("harbor-support", "--uri", uri)
    assert "json aaaaaaaaaaaa  2 candidates judged\n" in shown
    assert "policy states" not in shown


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = guarded(lambda: app(["ledger", *arguments], standalone_mode=True))
    return code, capsys.readouterr().err


def test_a_mistyped_name_is_bad_input(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = failure(capsys, "harbor-suport")
    assert code == 2
    assert "Did you mean harbor-support?" in said


def test_a_registry_that_is_not_there_is_the_environment_s_fault(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = failure(capsys, "harbor-support", "--uri", "sqlite:///nowhere/mlflow.db")
    assert code == 6
    assert "no registry here" in said


def test_help_has_an_example() -> None:
    shown = CliRunner().invoke(app, ["ledger", "--help"]).stdout
    assert "mergegate ledger harbor-support --json" in shown
