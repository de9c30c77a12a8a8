"""What a person sees of a running release."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from flows import board
from flows.board import Bars, Board
from flows.stage_progress import PROGRESS, duration, forget_progress, read_progress

NAMES = ("sources", "merge@tuned", "register")


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MERGEGATE_QUIET", raising=False)


def wrote(stage: str, **changes: Any) -> None:
    """As the stage's process writes it: 100 of 400 samples in 10 seconds."""
    fields = {"title": "t", "done": 100, "total": 400, "unit": "samples", "started": 0, "at": 10}
    PROGRESS.mkdir(parents=True, exist_ok=True)
    (PROGRESS / f"{stage}.json").write_text(json.dumps(fields | changes))


def test_without_a_terminal_each_stage_has_a_line_at_its_start_and_its_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Board()
    with shown.of("release tuned", NAMES):
        shown.unchanged(["sources"])
        with shown.running("merge@tuned") as done:
            done("restored")
        with pytest.raises(ValueError), shown.running("register"):  # noqa: PT011
            raise ValueError
    assert capsys.readouterr().err.splitlines() == [
        "sources ... unchanged",
        "merge@tuned ...",
        "merge@tuned ... restored from the cache (0 s)",
        "register ...",
        "register ... failed (0 s)",
    ]


def test_with_quiet_nothing_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGEGATE_QUIET", "1")
    shown = Board()
    with shown.of("release tuned", NAMES), shown.running("merge@tuned") as done:
        done("ran")
    assert capsys.readouterr().err == ""


def test_a_long_stage_says_from_time_to_time_how_far_it_is_and_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, "LINE_EVERY_S", 0.1)
    monkeypatch.setattr(board, "_TICK_S", 0.05)
    wrote("merge@tuned")
    shown = Board()
    with shown.of("release tuned", NAMES), shown.running("merge@tuned") as done:
        time.sleep(0.4)
        done("ran")
    said = "merge@tuned ... 100 of 400 samples, 10/s, 30 s left (0 s so far)"
    assert said in capsys.readouterr().err.splitlines()


def test_a_reader_that_has_gone_does_not_end_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    shown = Board()
    with shown.of("release tuned", NAMES), shown.running("merge@tuned") as done:
        done("ran")


def test_a_stage_counts_once_however_often_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(board.Lines, "counted", lambda _, done: counts.append(done))
    shown = Board()
    with shown.of("release tuned", NAMES):
        for _ in range(2):  # a stage that was forced, and is in its level again
            with shown.running("sources") as done:
                done("ran")
        shown.unchanged(["sources"])
        with pytest.raises(ValueError), shown.running("merge@tuned"):  # noqa: PT011
            raise ValueError
        with shown.running("merge@tuned") as done:  # tried again
            done("ran")
    assert counts == [1, 1, 1, 1, 2]


def test_on_a_terminal_a_running_stage_has_a_bar_of_its_own() -> None:
    wrote("merge@tuned", total=None, unit="MB")
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Progress(TextColumn("{task.fields[far]}"), console=console) as progress:
        bars = Bars(progress, "release tuned", 3)
        bars.began("merge@tuned")
        bars.tick()
        whole, stage = progress.tasks
        assert (stage.completed, stage.total) == (100, None)
        assert stage.fields["far"] == "100 MB, 10/s"
        bars.ended("merge@tuned", "ran", 61)
        bars.counted(1)
        assert (whole.completed, whole.total) == (1, 3)
        assert len(progress.tasks) == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"done": 1}', '{"done": "x", "total": 1}', "\xff"],
)
def test_torn_progress_is_no_progress(content: str) -> None:
    PROGRESS.mkdir(parents=True)
    (PROGRESS / "gate@tuned.json").write_text(content)
    assert read_progress("gate@tuned") is None


@pytest.mark.parametrize("changes", [{"done": -1}, {"at": float("nan")}, {"total": float("inf")}])
def test_progress_that_makes_no_sense_is_no_progress(changes: dict[str, float]) -> None:
    wrote("gate@tuned", **changes)
    assert read_progress("gate@tuned") is None


def test_what_an_earlier_run_wrote_is_forgotten() -> None:
    wrote("gate@tuned")
    forget_progress("gate@tuned")
    forget_progress("gate@tuned")
    assert read_progress("gate@tuned") is None


def test_progress_that_has_just_begun_has_no_rate() -> None:
    wrote("gate@tuned", done=0, at=0)
    assert str(read_progress("gate@tuned")) == "0 of 400 samples"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (4320, "1 h 12 min")],
)
def test_a_duration_has_the_units_that_read_best(seconds: float, words: str) -> None:
    assert duration(seconds) == words
