"""One release at a time in a workspace, and a release that died is told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows import workspace_lock
from flows.doctor import Patient, look, mend
from flows.workspace_lock import LOCK, Busy, Holder, hold, holder, left_behind, note_stages
from pipeline.release import store

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys, time
from flows.workspace_lock import hold, note_stages
with hold("release", "tuned", by="schedule"):
    note_stages("merge@tuned")
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def another(seconds: float) -> subprocess.Popen[str]:
    """A process that holds the lock, at the stage merge@tuned."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(seconds)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def killed() -> None:
    process = another(60)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_second_release_is_refused_at_once_and_told_who_works_at_which_stage() -> None:
    process = another(60)
    started = time.monotonic()
    with pytest.raises(Busy) as refused, hold("release", "naive"):
        pass
    assert time.monotonic() - started < 1
    process.kill()
    process.wait()
    assert refused.value.exit_code == 6
    for said in ("`mergegate release tuned`", str(process.pid), "stage merge@tuned", "--wait"):
        assert said in str(refused.value)


def test_with_wait_it_begins_when_the_other_one_ends(capsys: pytest.CaptureFixture[str]) -> None:
    process = another(1.5)
    with hold("judge", "naive", wait=True):
        assert process.wait(timeout=5) == 0
    said = capsys.readouterr().err
    assert "waits for the scheduled run `mergegate release tuned`" in said
    assert "died" not in said


def test_the_lock_says_who_holds_it_and_what_runs() -> None:
    assert holder() is None
    with hold("release", "tuned"):
        note_stages("merge@tuned, merge-plain")
        note_stages("gate@tuned")
        held = holder()
        assert held is not None
        assert (held.candidate, held.pid, held.by) == ("tuned", os.getpid(), "hand")
        assert held.stage == "gate@tuned"
        assert left_behind() is None
    assert holder() is None


@pytest.mark.parametrize("error", [None, ValueError("a stage failed"), KeyboardInterrupt()])
def test_a_release_that_ends_leaves_nothing_however_it_ends(error: BaseException | None) -> None:
    try:
        with hold("release", "tuned"):
            if error:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert LOCK.read_bytes() == b""
    assert left_behind() is None


def test_within_one_process_the_lock_is_taken_once() -> None:
    with hold("judge", "naive tuned"):
        with hold("judge", "naive"):
            pass
        held = holder()
    assert held is not None
    assert held.candidate == "naive tuned"


def test_a_release_that_was_killed_is_told_by_the_next_one_which_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed()
    with hold("release", "tuned"):
        pass
    assert "at stage merge@tuned) died" in capsys.readouterr().err
    with hold("release", "tuned"):
        pass
    assert capsys.readouterr().err == ""


def test_doctor_finds_a_release_that_was_killed_and_mends_it(workspace: Path) -> None:
    killed()
    uri = f"sqlite:///{workspace}/mlflow.db"
    with store.connect(uri) as client:
        client.search_experiments()  # makes the tables
    patient = Patient(uri, "nobody", None, Path(), quick=True)
    died = [ailment for ailment, _ in look(patient).left if ailment.code == "release-died"]
    assert [(one.subject, one.mend is not None) for one in died] == [("tuned", True)]
    assert "merge@tuned" in died[0].message
    assert "release-died" in {ailment.code for ailment in mend(patient).mended}
    assert left_behind() is None


def test_a_release_under_way_is_no_ailment() -> None:
    process = another(60)
    found = left_behind()
    process.kill()
    process.wait()
    assert found is None


def test_content_that_cannot_be_read_stops_nobody() -> None:
    LOCK.parent.mkdir()
    LOCK.write_text('{"command": "rel')
    assert left_behind() is None
    with hold("release", "tuned"):
        assert json.loads(LOCK.read_text())["candidate"] == "tuned"


def test_a_lock_that_was_removed_with_its_folder_is_made_again() -> None:
    process = another(60)
    LOCK.unlink()
    with hold("release", "tuned"):
        held = holder()
    process.kill()
    process.wait()
    assert held is not None
    assert held.pid == os.getpid()


def test_the_lock_is_kept_out_of_git() -> None:
    with hold("release", "tuned"):
        assert Path(".mergegate/.gitignore").read_text() == "*\n"


def test_a_long_content_leaves_nothing_behind_a_shorter_one() -> None:
    with hold("release", "tuned"):
        note_stages("x" * 500)
        note_stages("")
        assert Holder(**json.loads(LOCK.read_text())).stage == ""
    assert workspace_lock.holder() is None
