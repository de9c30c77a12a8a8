"""What the registry says of the past: which version was champion when."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from flows.cli import app
from flows.record import read_champion_at
from pipeline.errors import InputError
from pipeline.release import borne_out, claims, store
from pipeline.release.changes import move_champion
from pipeline.release.history import champion_at, status
from pipeline.release.journal import Journal
from pipeline.release.rollback import rollback

NAME = "harbor"
MAY, JUNE = datetime(2026, 5, 2, 10, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry whose champion was version 1 from 2 May 2026 on, and version 2 from 1 June on."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    found = f"sqlite:///{tmp_path}/mlflow.db"
    with store.connect(found) as client:
        client.create_registered_model(NAME)
        for number in (1, 2):
            tags = {store.RELEASE_DIGEST: f"digest {number}", "mergegate.kind": "merge"}
            client.create_model_version(NAME, f"file:///none/{number}", tags=tags)
    monkeypatch.setenv("MERGEGATE_WHO", "ada")
    for number, moment in ((1, MAY), (2, JUNE)):
        monkeypatch.setattr(claims, "datetime", _clock(moment))
        move_champion(
            found,
            NAME,
            number,
            expected=number - 1 or None,
            kind="promotion",
            why=f"why {number}",
            release_digest=f"digest {number}",
            journal=tmp_path / "harbor.jsonl",
        )
    return found


def _clock(moment: datetime) -> type[datetime]:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return moment

    return Clock


def test_the_champion_of_a_day_is_the_last_one_before_it(uri: str) -> None:
    found = read_champion_at(uri, NAME, "2026-05-14")
    assert found["version"]["version"] == 1
    assert (found["change"]["who"], found["change"]["why"]) == ("ada", "why 1")
    assert found["until"] == "2026-06-01T00:00:00+00:00"


def test_a_change_counts_from_its_second_on(uri: str) -> None:
    assert champion_at(uri, NAME, JUNE)["change"]["version"] == 2
    assert champion_at(uri, NAME, JUNE)["until"] is None
    assert read_champion_at(uri, NAME, "2026-06-01T01:59:59+02:00")["change"]["version"] == 1


def test_a_version_that_was_deleted_is_still_named_by_its_change(uri: str) -> None:
    with store.connect(uri) as client:
        client.delete_model_version(NAME, "1")
    found = read_champion_at(uri, NAME, "2026-05-14")
    assert found["version"] is None
    assert found["change"]["release_digest"] == "digest 1"


def test_before_the_first_change_nothing_is_known_and_the_first_is_named(uri: str) -> None:
    with pytest.raises(InputError, match=r"the first is of 2026-05-02T10:00:00\+00:00"):
        read_champion_at(uri, NAME, "2026-05-02T09:59")


def test_an_alias_that_was_moved_by_hand_is_told(uri: str) -> None:
    assert read_champion_at(uri, NAME, "2026-05-14")["moved_by_hand"] is None
    with store.connect(uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    assert champion_at(uri, NAME, JUNE)["moved_by_hand"] == 1
    with store.connect(uri) as client:
        client.delete_registered_model_alias(NAME, "champion")
    assert champion_at(uri, NAME, JUNE)["moved_by_hand"] == 0


def test_a_moment_to_come_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="is to come; name a time that has passed"):
        read_champion_at(uri, NAME, "2999-01-01")


def test_what_is_no_time_is_refused_with_an_example(uri: str) -> None:
    with pytest.raises(InputError, match=r"--at last May: no time\. Write it as 2026-05-14"):
        read_champion_at(uri, NAME, "last May")


def test_an_altered_journal_stands_in_the_status_and_in_the_answer_of_a_day(
    uri: str, tmp_path: Path
) -> None:
    journal = tmp_path / "harbor.jsonl"
    assert status(uri, NAME, journal)["journal"] == {
        "path": str(journal),
        "faults": [],
        "notes": [],
    }
    journal.write_text(
        journal.read_text().replace('"who":"ada","why":"why 1"', '"who":"eve","why":""')
    )
    for found in (status(uri, NAME, journal), champion_at(uri, NAME, JUNE, journal)):
        altered, differing = found["journal"]["faults"]
        assert altered.endswith(
            "line 1: altered since it was written (change 1 of harbor, by eve)."
        )
        assert "change 1: why is «» there, and «why 1» in the registry; who is «eve»" in differing
    assert status(uri, NAME)["journal"] is None


def test_a_journal_written_anew_by_somebody_else_contradicts_the_registry(
    uri: str, tmp_path: Path
) -> None:
    """Its chain holds, so that only the comparison finds it."""
    entries = Journal(tmp_path / "harbor.jsonl").entries()
    forged = Journal(tmp_path / "forged.jsonl")
    for entry in (*entries, {**entries[-1], "number": 3, "claim": "x"}):
        forged.append({k: v for k, v in entry.items() if k != "digest"} | {"who": "eve"})
    faults = champion_at(uri, NAME, JUNE, forged.path)["journal"]["faults"]
    assert [fault.partition(": ")[2].partition(",")[0] for fault in faults] == [
        "change 1: who is «eve» there",
        "change 2: who is «eve» there",
        "has change 3",
    ]


def test_a_journal_that_cannot_be_read_is_a_fault_and_no_end(uri: str, tmp_path: Path) -> None:
    (fault,) = status(uri, NAME, tmp_path)["journal"]["faults"]
    assert "it is a folder" in fault


@pytest.fixture
def workspace(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose params.yaml names the registry and the journal; its folder."""
    text = Path(__file__).parents[2].joinpath("params.yaml").read_text(encoding="utf-8")
    params = yaml.safe_load(text)
    params |= {"name": NAME, "registry": {"uri": uri, "journal": str(tmp_path)}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(*arguments: str) -> tuple[int, str]:
    """The exit code and the output of `mergegate status`."""
    done = CliRunner().invoke(app, ["status", *arguments])
    return done.exit_code, done.output


def test_a_champion_that_was_moved_by_hand_stands_on_top_of_every_answer(
    workspace: Path, uri: str
) -> None:
    for arguments in ((), ("--at", "2026-06-02")):
        assert "by hand" not in asked(*arguments)[1]
    with store.connect(uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    for arguments in ((), ("--at", "2026-06-02")):
        told = asked(*arguments)[1]
        assert told.startswith(
            "The champion was moved by hand.\n  The alias champion is at version 1"
        )
    assert "until     now, by what was recorded" in told


def test_a_change_that_was_claimed_and_not_finished_stands_on_top(
    workspace: Path, uri: str
) -> None:
    """Else a model's tag that was set back would hide that the alias was moved."""
    with store.connect(uri) as client:
        client.delete_registered_model_tag(NAME, "mergegate.change")
        client.set_registered_model_alias(NAME, "champion", "1")
    for arguments in ((), ("--at", "2026-06-02")):
        told = asked(*arguments)[1]
        assert told.startswith("A change of the champion is not finished.\n  Change 2 was claimed")


@pytest.mark.parametrize("left", [0, 1, None])
def test_a_journal_in_the_workspace_of_the_registry_must_have_every_change(
    workspace: Path, left: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borne_out, "_PAUSE_S", 0)
    journal = workspace / "harbor.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    if left is None:
        journal.unlink()
    else:
        journal.write_text("".join(lines[:left]))
    numbers = "change 2" if left else "changes 1, 2"
    code, told = asked()
    assert code == 0
    assert told.startswith("The journal does not bear out what follows.")
    assert f"lacks {numbers}, which the registry has" in told
    code, told = asked("--at", "2026-05-14")
    assert code == 2
    assert f"lacks {numbers}, which the registry has" in told


def test_a_workspace_beside_that_of_the_registry_is_told_of_what_its_journal_lacks_and_answered(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(borne_out, "_PAUSE_S", 0)
    beside = workspace / "beside"
    beside.mkdir()
    text = (workspace / "params.yaml").read_text(encoding="utf-8")
    params = yaml.safe_load(text)
    params["registry"]["journal"] = "journal"
    (beside / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    monkeypatch.chdir(beside)
    code, told = asked("--at", "2026-05-14")
    assert code == 0
    assert "note: journal/harbor.jsonl: is not there, so it lacks changes 1, 2" in told


def test_a_change_that_is_missing_before_others_is_a_fault_in_every_workspace(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is entered after all before it, so no other machine explains the gap."""
    monkeypatch.setattr(borne_out, "_PAUSE_S", 0)
    last = Journal(tmp_path / "harbor.jsonl").entries()[-1]
    forged = Journal(tmp_path / "forged.jsonl")
    forged.append({k: v for k, v in last.items() if k not in ("digest", "prior")})
    (fault,) = status(uri, NAME, forged.path)["journal"]["faults"]
    assert "lacks change 1, which the registry has" in fault


def test_a_promotion_that_is_about_to_write_its_line_is_not_taken_for_a_removed_one(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "harbor.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.index(b"\n") + 1])
    monkeypatch.setattr(borne_out.time, "sleep", lambda s: journal.write_bytes(whole) if s else 0)
    assert status(uri, NAME, journal, whole=True)["journal"]["faults"] == []


def test_the_journal_is_compared_however_the_workspace_s_registry_is_written(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = workspace / "harbor.jsonl"
    journal.write_text(journal.read_text().replace("why 1", "why not"))
    named = [NAME, "--at", "2026-05-14", "--uri"]
    (workspace / "link.db").symlink_to("mlflow.db")
    for uri in ("sqlite:///mlflow.db", f"sqlite:///{workspace}/./mlflow.db", "sqlite:///link.db"):
        assert asked(*named, uri)[0] == 2


def test_an_answer_without_a_journal_says_that_none_was_compared_and_why(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy("mlflow.db", "other.db")
    named = [NAME, "--at", "2026-05-14", "--uri", f"sqlite:///{workspace}/other.db"]
    code, told = asked(*named)
    assert code == 0
    assert "note: No journal was compared: params.yaml of this folder names another reg" in told
    monkeypatch.chdir(workspace.parent)
    assert "No journal was compared: there is no params.yaml" in asked(*named)[1]
    found = json.loads(asked(*named, "--json")[1])["journal"]
    assert found["path"] is None
    assert found["notes"][0].startswith("No journal was compared")


def test_the_command_says_on_top_that_the_journal_was_altered_and_fails_an_auditor(
    workspace: Path,
) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["status", *arguments])
        return done.exit_code, done.output

    for sound in (run(), run("--at", "2026-05-14")):
        assert (sound[0], "does not bear out" in sound[1]) == (0, False)
    journal = workspace / "harbor.jsonl"
    journal.write_text(journal.read_text().replace("why 1", "why not"))
    code, told = run()
    assert code == 0
    assert told.startswith("The journal does not bear out what follows.")
    assert "version 2" in told
    code, told = run("--at", "2026-05-14")
    assert code == 2
    assert told.startswith("The journal does not bear out what follows.")
    code, told = run("--at", "2026-05-14", "--json")
    assert code == 2
    assert len(json.loads(told)["journal"]["faults"]) == 2
    assert json.loads(run("--json")[1])["journal"]["path"].endswith("harbor.jsonl")


@pytest.mark.parametrize("number", ["two", "", "-1", "²", "99999999999999999999"])
def test_a_way_back_that_is_no_version_is_none(number: str, uri: str) -> None:
    store.set_version_tag(uri, NAME, "2", "mergegate.rollback_version", number)
    found = status(uri, NAME)
    assert found["champion"]["rollback_version"] is None
    assert found["target"] is None
    with pytest.raises(InputError, match="carries no rollback pointer"):
        rollback(uri, NAME, why="")
