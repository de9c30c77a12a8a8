"""The schedule against a real Prefect server: ticks, runs by hand, overlaps, deaths, and its end.

One story is told once, in a workspace whose stages are done and whose registry is empty; each test reads a rule in it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from harness import clone, command, report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="runs end with their schedule on Linux"),
]

ROOT = Path(__file__).parents[2]
DEPLOYMENT = "release/harbor-support"
LINE = re.compile(r'^\S+ \S+ UTC  run "(?P<run>[^"]+)" (?P<what>.+)$', re.M)
HOLDS = """
import sys
from flows.workspace_lock import hold
with hold("judge", "naive"):
    print("held", flush=True)
    sys.stdin.read()
"""
RUN = """
import sys
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    if sys.argv[1] == "start":
        deployment = client.read_deployment_by_name(sys.argv[2])
        print(client.create_flow_run_from_deployment(deployment.id).name)
    else:
        for run in client.read_flow_runs():
            print(run.name, run.state_type.value, run.state.name, sep="|")
"""


@dataclass
class Story:
    """What happened: the names of runs, and all that the schedules printed."""

    workspace: Path
    promoted: str = ""
    ticked: str = ""
    by_hand: str = ""
    overlapping: str = ""
    beside_a_person: str = ""
    killed: str = ""
    with_its_schedule: str = ""
    first: str = ""  # the output of the schedule that was killed
    second: str = ""  # of the one after it, which was stopped
    stopped: int = -1  # its exit code
    refused: subprocess.CompletedProcess[str] | None = None
    states: dict[str, tuple[str, str]] = field(default_factory=dict)  # type and name by run
    doctor: list[dict[str, Any]] = field(default_factory=list)


@pytest.fixture(scope="module")
def story(
    released: dict[str, Any], server: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Story:
    folder = clone(released["folder"], tmp_path_factory.mktemp("schedule") / "workspace")
    (folder / "mlflow.db").unlink()
    shutil.rmtree(folder / ".mergegate" / "journal")
    env = {**os.environ, **server, "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    told = Story(folder)

    def start() -> str:
        return prefect(env, "start", DEPLOYMENT).strip()

    def until(seen: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 240
        while not seen():
            assert time.monotonic() < deadline, f"{what}\n{output.read_text()}"
            time.sleep(0.1)

    def said(words: str, run: str = "") -> Callable[[], bool]:
        return lambda: any(words in what for name, what in lines(output) if run in ("", name))

    # Without ticks, which would come between.
    output = folder / "by-hand.log"
    with served(folder, env, output, "0 0 1 1 *") as schedule:
        until(lambda: "next run: " in output.read_text(), "no run was planned")
        told.promoted = start()
        until(lambda: holder(folder).get("by") == "schedule", "the first run took no lock")
        told.overlapping = start()
        told.refused = command("schedule", "--cron", "* * * * *", cwd=folder, env=env)
        until(said("ended: Promoted", told.promoted), "the first run promoted nothing")
        until(said("ended: Skipped", told.overlapping), "the overlapping run was not skipped")
    told.first = output.read_text()

    output = folder / "first.log"
    with served(folder, env, output, "* * * * *") as schedule:
        until(said("began (by the schedule)"), "no tick made a run")
        until(said("ended: Nothing changed"), "no tick ended")
        with person(folder):
            told.beside_a_person = start()
            until(said("ended: Skipped", told.beside_a_person), "not skipped beside a person")
        told.by_hand = start()
        until(said("ended: Nothing changed", told.by_hand), "the run by hand did not end")

    # Without ticks from here on.
    output = folder / "killed.log"
    with served(folder, env, output, "0 0 1 1 *") as schedule:
        until(lambda: "next run: " in output.read_text(), "no run was planned")
        told.killed = start()
        until(lambda: holder(folder).get("by") == "schedule", "the run took no lock")
        os.kill(holder(folder)["pid"], signal.SIGKILL)
        until(said("ended: Crashed", told.killed), "the death was not told")
        told.doctor = report(command("doctor", "--quick", "--json", cwd=folder))["left"]
        dead = holder(folder)["run"]
        told.with_its_schedule = start()
        until(lambda: holder(folder).get("run", dead) != dead, "the next run took no lock")
        schedule.send_signal(signal.SIGKILL)
        schedule.wait()
    told.first += (folder / "first.log").read_text() + output.read_text()

    output = folder / "second.log"
    with served(folder, env, output, "0 0 1 1 *") as schedule:
        until(lambda: "next run: " in output.read_text(), "no run was planned")
        schedule.send_signal(signal.SIGTERM)
        told.stopped = schedule.wait(timeout=60)
    told.second = output.read_text()
    for line in prefect(env, "list").splitlines():
        name, kind, state = line.split("|")
        told.states[name] = kind, state
    ticks = [name for name, what in lines(folder / "first.log") if "(by the schedule)" in what]
    told.ticked = next(name for name in ticks if told.states[name][1] == "Nothing changed")
    return told


@contextmanager
def served(
    folder: Path, env: Mapping[str, str], output: Path, cron: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A schedule of the workspace, what it prints in a file; stopped at the end."""
    with output.open("w") as file:
        schedule = subprocess.Popen(
            [sys.executable, "-m", "flows", "schedule", "tuned", "--cron", cron],
            cwd=folder,
            env=env,
            stdout=file,
            stderr=file,
        )
        try:
            yield schedule
        finally:
            if schedule.poll() is None:
                schedule.terminate()
            schedule.wait(timeout=60)


@contextmanager
def person(folder: Path) -> Iterator[None]:
    """Somebody judges in the workspace meanwhile."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    try:
        yield
    finally:
        process.communicate()


def prefect(env: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def holder(folder: Path) -> dict[str, Any]:
    """The content of the lock of the workspace."""
    try:
        found: dict[str, Any] = json.loads((folder / ".mergegate" / "lock").read_text())
    except (OSError, ValueError):
        return {}
    return found


def lines(output: Path) -> list[tuple[str, str]]:
    """Each run that a schedule spoke of, and what it said."""
    return [(found["run"], found["what"]) for found in LINE.finditer(output.read_text())]


def said_of(run: str, text: str) -> list[str]:
    return [found["what"] for found in LINE.finditer(text) if found["run"] == run]


def test_a_run_started_by_hand_makes_a_champion(story: Story) -> None:
    assert story.states[story.promoted] == ("COMPLETED", "Promoted")
    status = report(command("status", "--json", cwd=story.workspace))
    assert status["champion"]["kind"] == "merge"
    began, ended = said_of(story.promoted, story.first)
    assert began == "began (by hand)."
    assert f"Version {status['champion']['version']} of harbor-support is champion." in ended


def test_a_tick_of_the_cron_and_a_later_run_complete_and_say_that_nothing_changed(
    story: Story,
) -> None:
    for run, by in ((story.ticked, "the schedule"), (story.by_hand, "hand")):
        assert story.states[run] == ("COMPLETED", "Nothing changed")
        assert said_of(run, story.first)[0] == f"began (by {by})."
    assert len(report(command("status", "--json", cwd=story.workspace))["history"]) == 2


def test_a_late_run_is_skipped_and_says_so(story: Story) -> None:
    assert story.states[story.overlapping] == ("COMPLETED", "Skipped")
    (ended,) = [what for what in said_of(story.overlapping, story.first) if "ended" in what]
    assert "The scheduled run `mergegate release tuned`" in ended


def test_a_run_beside_a_person_who_judges_is_skipped_and_says_so(story: Story) -> None:
    assert story.states[story.beside_a_person] == ("COMPLETED", "Skipped")
    (ended,) = [what for what in said_of(story.beside_a_person, story.first) if "ended" in what]
    assert "The command `mergegate judge naive`" in ended


def test_a_run_that_was_killed_is_crashed_and_doctor_finds_it(story: Story) -> None:
    assert story.states[story.killed] == ("CRASHED", "Crashed")
    assert [one["code"] for one in story.doctor] == ["release-died"]


def test_a_run_that_died_with_its_schedule_is_told_by_the_next_one(story: Story) -> None:
    assert story.states[story.with_its_schedule] == ("CRASHED", "Crashed")
    (ended,) = said_of(story.with_its_schedule, story.second)
    assert ended.startswith("of an earlier schedule ended: Crashed.")


def test_a_second_schedule_in_one_folder_is_refused(story: Story) -> None:
    assert story.refused is not None
    assert story.refused.returncode == 6
    assert "serves this folder" in story.refused.stderr


def test_a_schedule_that_is_stopped_says_that_no_further_runs_are_made(story: Story) -> None:
    assert story.stopped == 0
    assert "no further runs are made" in story.second.splitlines()[-1]


def test_each_line_of_the_schedule_has_its_time(story: Story) -> None:
    untimed = [
        line
        for line in (story.first + story.second).splitlines()
        if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  ", line)
    ]
    assert all(line.startswith("mergegate: ") for line in untimed), untimed
