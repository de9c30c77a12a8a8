"""Long work shows how far it is: a bar on a terminal, a file where DVC runs the stage, nothing elsewhere."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline import progress
from pipeline.progress import Meter, meter, pace

FILE = Path(".mergegate/progress/merge@tuned.json")


class Terminal(io.StringIO):
    """A standard error that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder and a quiet environment, whatever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in (progress.STAGE, progress.QUIET, "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TERM"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DVC runs a stage, with a file that is written at each change."""
    monkeypatch.setenv("DVC_STAGE", "merge@tuned")
    monkeypatch.setattr(progress, "_SECONDS", 0)


def read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text())
    return found


def test_the_file_of_a_stage_says_how_far_it_is(stage: None) -> None:
    begun = time.time()
    with meter("merge tuned", 40, "MB") as advance:
        assert read()["done"] == 0
        advance()
        advance.skip(20)
        advance(4)
        said = read()
        assert list(said) == ["title", "done", "total", "unit", "started", "at"]
        assert begun <= said.pop("started") <= said.pop("at") <= time.time()
        assert said == {"title": "merge tuned", "done": 25, "total": 40, "unit": "MB"}
        advance.bytes_to(30_900_000, 50_000_000)
        assert (read()["done"], read()["total"]) == (30, 50)
    assert list(FILE.parent.iterdir()) == []


def test_a_total_that_is_not_known_is_null(stage: None) -> None:
    with meter("quantize", None, "layers") as advance:
        advance()
        assert read()["total"] is None


def test_the_file_goes_when_the_work_fails(stage: None) -> None:
    with pytest.raises(KeyError), meter("merge", 1, "MB"):
        raise KeyError(FILE.is_file())
    assert not FILE.exists()


def test_the_file_is_written_at_most_twice_a_second(
    stage: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.05)
    times, put = [], Meter._put

    def timed(self: Meter, file: Path) -> None:
        times.append(time.monotonic())
        put(self, file)

    monkeypatch.setattr(Meter, "_put", timed)
    with meter("evaluate", None, "samples") as advance:
        while len(times) < 5:
            advance()
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(times))


def test_what_was_done_in_a_burst_is_in_the_file_soon(
    stage: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.05)
    with meter("evaluate", 64, "samples") as advance:
        for _ in range(64):
            advance()
        until = time.monotonic() + 10
        while read()["done"] < 64:
            assert time.monotonic() < until
        advance(0)  # a write that is put off must not bring the file back
    time.sleep(0.1)
    assert not list(FILE.parent.iterdir())


def test_no_file_without_a_stage_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with meter("merge", 2, "MB") as advance:
        advance()
    assert not Path(".mergegate").exists()
    assert capfd.readouterr() == ("", "")


def test_a_file_that_cannot_be_written_fails_no_work(
    stage: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".mergegate").write_text("a file in the place of the folder")
    with meter("merge", 2, "MB") as advance:
        advance()
    Path(".mergegate").unlink()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with meter("merge", 2, "MB") as advance:
        monkeypatch.setattr(Path, "write_text", full)
        advance()
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_rate_and_time_left_and_is_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with meter("evaluate base", 100, "samples") as advance:
        time.sleep(0.01)
        advance(10)
        advance._shown.refresh()
        shown = terminal.getvalue()
    assert "evaluate base" in shown
    assert "10/100" in shown
    assert "samples/s, 0:00:0" in shown


def test_quiet_hides_the_bar_and_leaves_the_file(
    stage: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("MERGEGATE_QUIET", "1")
    with meter("merge", 2, "MB") as advance:
        advance()
        assert read()["done"] == 1
    assert terminal.getvalue() == ""


def test_threads_lose_no_count(stage: None) -> None:
    with meter("merge", None, "MB") as advance:
        threads = [
            threading.Thread(target=lambda: [advance() for _ in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read()["done"] == 200


@pytest.mark.parametrize(
    ("done", "left", "seconds", "expected"),
    [
        (0, 10, 5.0, "samples"),
        (50, 100, 4.0, "12.5 samples/s, 0:00:08 left"),
        (2, 1_000, 25.0, "12.5 s each, 3:28:20 left"),
        (5_000, None, 2.0, "2,500.0 samples/s"),
        (5, 0, 5.0, "1.0 samples/s, 0:00:00 left"),
    ],
)
def test_the_pace_is_that_of_what_was_done_just_now(
    done: int, left: int | None, seconds: float, expected: str
) -> None:
    assert pace(done, left, seconds, "samples") == expected


def test_what_was_done_before_does_not_count_for_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with meter("evaluate", 1_000, "samples") as advance:
        advance.skip(900)
        clock[0] += 10
        advance(20)
        (task,) = advance._shown.tasks
        assert (task.completed, task.fields["pace"]) == (920, "2.0 samples/s, 0:00:40 left")
