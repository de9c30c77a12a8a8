"""The reason of a rollback is one that can be kept, and what the journal lacked is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from release_family import register_all

from flows import say
from pipeline.errors import InputError
from pipeline.release import rehearse_version, rollback, status
from pipeline.release.changes import settle
from pipeline.release.journal import Journal
from pipeline.release.person import WHY_LIMIT, reason

Bundle = Callable[..., Path]


@pytest.fixture
def released(uri: str, bundle: Bundle) -> str:
    """A registry whose champion, version 2, has a rehearsed way back."""
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    return uri


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("caf\udce9 closed", r"--why: character 4 is no text in UTF-8, near «caf\\udce9 closed»"),
        ("a" * (WHY_LIMIT + 1), r"--why: the reason has 2,001 characters; at most 2,000 are kept"),
    ],
    ids=["a byte that is no text", "too long"],
)
def test_a_reason_that_cannot_be_kept_is_refused_before_anything_changes(
    released: str, tmp_path: Path, why: str, said: str
) -> None:
    before, journal = status(released, "harbor"), tmp_path / "journal" / "harbor.jsonl"
    with pytest.raises(InputError, match=said):
        rollback(released, "harbor", why, journal=journal)
    assert status(released, "harbor") == before
    assert not journal.parent.exists()


def test_the_longest_reason_is_kept_whole(released: str) -> None:
    longest = "é" * WHY_LIMIT
    change = rollback(released, "harbor", f" {longest}\n").change
    assert change
    assert change.why == longest


@pytest.mark.parametrize("why", ["", "   ", "\t\n", "\u200b \u200b"])
def test_what_nobody_can_read_is_no_reason(why: str) -> None:
    assert reason(why) == ""


def test_a_rollback_for_a_blank_reason_is_recorded_as_without_one(
    released: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.app import app
    from flows.cli import guarded

    command = ["rollback", "harbor", "--uri", released, "--why", "   "]
    assert guarded(lambda: app(command)) == 0
    assert "No reason was given" in capsys.readouterr().out
    found = status(released, "harbor")
    assert found["changes"][0]["why"] == "no reason given"
    assert found["history"][1]["rolled_back"] == "no reason given"


def test_a_rollback_says_which_changes_the_journal_lacked(
    released: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal" / "harbor.jsonl"
    assert settle(released, "harbor", journal)
    journal.unlink()
    report = rollback(released, "harbor", "rude", journal=journal)
    assert report.entered == (1,)
    assert [entry["number"] for entry in Journal(journal).entries()] == [1, 2]
    say.rolled_back(report.to_json())
    assert (
        "The journal lacked change 1, and has it now as the registry says"
        in capsys.readouterr().out
    )


def test_a_rollback_that_found_its_journal_whole_says_nothing_of_it(
    released: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = tmp_path / "journal" / "harbor.jsonl"
    settle(released, "harbor", journal)
    report = rollback(released, "harbor", "rude", journal=journal)
    assert report.entered == ()
    say.rolled_back(report.to_json())
    assert "journal" not in capsys.readouterr().out
