"""How a release ends: exit code, words, and the state of a scheduled run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import say, scheduled, unchanged
from flows.record import Outcome
from flows.scheduled import release_to_state, state_of
from pipeline.errors import EnvironmentFault, InputError, MergegateError

HELD: dict[str, Any] = {"model": "m", "version": 2, "held_back": "it was rolled back: complaints"}
SETTLED: dict[str, Any] = {
    "model": "m",
    "version": 2,
    "held_back": "",
    "champion_since": "2026-11-22T16:57:40+00:00",
}


def ended(outcome: str = "promote", **registered: Any) -> Outcome:
    return Outcome("tuned", outcome, "The sentence.", (), {}, registered)


@pytest.mark.parametrize(
    ("outcome", "registered", "code"),
    [
        ("promote", {}, 0),
        ("promote", SETTLED, 0),
        ("reject", {}, 3),
        ("inconclusive", {}, 4),
        ("cannot judge", {}, 5),
        ("promote", HELD, 7),
    ],
)
def test_each_end_has_its_exit_code_and_json_repeats_it(
    outcome: str, registered: dict[str, Any], code: int
) -> None:
    found = ended(outcome, **registered)
    shown = found.to_json()
    assert found.exit_code == shown["exit_code"] == code
    assert shown["outcome"] == outcome
    assert shown["held_back"] == (HELD["held_back"] if registered is HELD else "")
    assert shown["unchanged"] is (registered is SETTLED)


def test_a_release_that_is_held_back_says_so_before_its_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say.outcome(ended(**HELD))
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("tuned  Held back: version 2 of m")
    assert "complaints" in first
    assert "mergegate rollback m --to 2" in first
    assert second == "  the verdict: The sentence."


def test_a_release_that_changed_nothing_says_since_when_which_version_is_champion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say.outcome(ended(**SETTLED))
    first = capsys.readouterr().out.splitlines()[0]
    assert (
        first == "tuned  Nothing changed since 2026-11-22 16:57:40 UTC: version 2 of m is champion."
    )


@pytest.mark.parametrize(
    ("outcome", "registered", "name"),
    [
        ("promote", {"model": "m", "version": 2}, "Promoted"),
        ("promote", SETTLED, "Nothing changed"),
        ("promote", HELD, "Held back"),
        ("reject", {"run": "r", "version": None}, "Rejected"),
        ("inconclusive", {}, "Inconclusive"),
        ("cannot judge", {}, "Cannot judge"),
    ],
)
def test_a_verdict_of_any_kind_completes_the_run_and_names_its_state(
    outcome: str, registered: dict[str, Any], name: str
) -> None:
    state = state_of(ended(outcome, **registered))
    assert (state.type.value, state.name) == ("COMPLETED", name)
    assert state.message


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (InputError("the words"), "Bad input"),
        (EnvironmentFault("the words"), "Environment failed"),
        (MergegateError("the words"), "Failed"),
        (OSError(28, "the words"), "Environment failed"),
    ],
)
def test_what_went_wrong_fails_the_run_in_its_own_words(
    error: Exception, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(scheduled, "preflight", lambda candidate: (None, candidate))
    monkeypatch.setattr(scheduled, "run_release", fails)
    state = release_to_state("tuned", "")
    assert (state.type.value, state.name) == ("FAILED", name)
    assert "the words" in str(state.message)


def test_a_fault_of_the_environment_is_left_to_the_flow_which_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any) -> None:
        raise EnvironmentFault("DVC is busy")

    monkeypatch.setattr(unchanged.stages, "levels", lambda *_: [["sources"]])
    monkeypatch.setattr(unchanged.stages, "unwatched", lambda *_: [])
    monkeypatch.setattr(unchanged.stages, "stale", fails)
    assert unchanged.settled(None, "tuned", register=True) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("found", ["unwatched", "stale"])
def test_a_stage_that_must_look_again_is_never_passed_over(
    found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unwatched", "stale"):
        monkeypatch.setattr(
            unchanged.stages, name, lambda *_, due=name == found: {"sources"} if due else set()
        )
    monkeypatch.setattr(unchanged.stages, "levels", lambda *_: [["sources"]])
    assert unchanged.settled(None, "tuned", register=True) is None  # type: ignore[arg-type]
