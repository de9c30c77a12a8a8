"""What the stage hands to the evaluation: the store, unless it is switched off, and the fields of each skill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.params import load_params
from pipeline.stages import evaluate as stage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the evaluation that the stage would make, in an empty workspace."""
    arguments: dict[str, Any] = {}

    def evaluated(*_: Any, store: Any, say: Any, **rest: Any) -> None:
        arguments.update(rest, store=store)
        say("base: json: 600 samples in 7 s.")
        if store:
            store.reused += ["json", "tone"]
            store.resumed["policy"] = 1_024
            store.notes.append("entry: does not read back (cut); evaluated again.")

    params = load_params(ROOT / "params.yaml")
    variant = stage.Variant("base", "base", tmp_path, None, "digest", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(stage.NO_REUSE, raising=False)
    monkeypatch.setenv("DVC_STAGE", "evaluate-base")
    monkeypatch.delenv("MERGEGATE_QUIET", raising=False)
    monkeypatch.setattr(stage, "load_params", lambda: params)
    monkeypatch.setattr(stage, "_variant", lambda *_: variant)
    monkeypatch.setattr(stage, "evaluate", evaluated)
    return arguments


def test_the_log_of_a_stage_says_what_was_not_evaluated(
    handed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stage.run("base")
    assert handed["store"].folder == Path(".mergegate/evaluations")
    assert capsys.readouterr().err == (
        "base: as evaluated before: json, tone.\n"
        "base: policy: 1,024 samples taken from an unfinished evaluation.\n"
        "entry: does not read back (cut); evaluated again.\n"
    )


def test_reuse_can_be_switched_off(
    handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGEGATE_NO_REUSE", "1")
    stage.run("base")
    assert handed["store"] is None
    assert capsys.readouterr().err == ""


def test_a_stage_run_by_hand_into_a_pipe_has_a_line_for_each_skill(
    handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGEGATE_NO_REUSE", "1")
    monkeypatch.delenv("DVC_STAGE")
    stage.run("base")
    assert capsys.readouterr().err == "base: json: 600 samples in 7 s.\n"
    monkeypatch.setenv("MERGEGATE_QUIET", "1")
    stage.run("base")
    assert capsys.readouterr().err == ""


def test_a_terminal_has_a_bar_instead_of_lines(
    handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGEGATE_NO_REUSE", "1")
    monkeypatch.delenv("DVC_STAGE")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    stage.run("base")
    assert capsys.readouterr().err == ""


def test_the_fields_that_a_policy_slices_by_reach_the_evaluation(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    old = "metrics: [rubric]"
    assert text.count(old) == 1
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, f"{old}, attributes: [language]"), encoding="utf-8")
    specs = stage.skill_specs(load_params(path))
    assert specs["tone"].attributes == ("language",)
    assert specs["json"].attributes == ()
