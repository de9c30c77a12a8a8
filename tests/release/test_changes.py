"""The champion moves by numbered changes: of several processes one wins, and none is lost."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.release import changes, store
from pipeline.release.changes import Change, Overtaken, adopt, head, move_champion, restore, settle
from pipeline.release.journal import Journal
from pipeline.release.person import who
from pipeline.release.standing import changes as known_changes
from pipeline.release.standing import read_standing

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.promote import contend

NAME = "harbor"


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with three versions and no champion."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    found = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    with store.connect(found) as client:
        client.create_registered_model(NAME)
        for number in (1, 2, 3):
            tags = {store.RELEASE_DIGEST: f"digest {number}"}
            client.create_model_version(NAME, f"file:///none/{number}", tags=tags)
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "harbor.jsonl"


def move(uri: str, version: int, expected: int | None, journal: Path | None = None) -> Change:
    return move_champion(
        uri,
        NAME,
        version,
        expected=expected,
        kind="promotion",
        why=f"why {version}",
        release_digest=f"digest {version}",
        journal=journal,
    )


def alias(uri: str) -> int | None:
    with store.connect(uri) as client:
        return read_standing(client, NAME).alias


def test_a_change_says_to_what_from_what_why_by_whom_and_when(
    uri: str, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGEGATE_WHO", "ada")
    move(uri, 1, None, journal)
    change = move(uri, 2, 1, journal)
    assert (change.number, change.version, change.previous) == (2, 2, 1)
    assert (change.kind, change.why, change.who) == ("promotion", "why 2", "ada")
    assert change.when.endswith("+00:00")
    assert head(uri, NAME) == change
    assert alias(uri) == 2
    entry = Journal(journal).entries()[-1]
    assert {key: entry[key] for key in vars(change)} == vars(change)


def test_the_version_says_which_change_made_it_champion_and_what_it_replaced(uri: str) -> None:
    move(uri, 1, None)
    move(uri, 3, 1)
    tags = MlflowClient(uri, uri).get_model_version(NAME, "3").tags
    assert (tags["mergegate.change"], tags["mergegate.replaces"]) == ("2", "1")


def test_a_release_judged_against_one_champion_does_not_replace_another(
    uri: str, journal: Path
) -> None:
    move(uri, 1, None, journal)
    move(uri, 2, 1, journal)
    with pytest.raises(
        Overtaken,
        match=r"\(version 2, by .* at .*\); run `mergegate release` again: it will be judged",
    ) as caught:
        move(uri, 3, 1, journal)
    assert caught.value.exit_code == 6
    assert alias(uri) == 2
    assert len(Journal(journal).entries()) == 2


def test_a_first_release_does_not_replace_a_champion_that_appeared_meanwhile(uri: str) -> None:
    move(uri, 1, None)
    with pytest.raises(Overtaken):
        move(uri, 2, None)


def test_making_the_champion_champion_again_changes_nothing(uri: str, journal: Path) -> None:
    first = move(uri, 1, None, journal)
    assert move(uri, 1, None, journal) == first
    assert move(uri, 1, 1, journal) == first
    assert len(Journal(journal).entries()) == 1


def test_the_claim_that_loses_between_look_and_claim_is_overtaken(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(uri, 1, None)
    create = MlflowClient.create_experiment

    def beaten(client: Any, name: str, **named: Any) -> str:
        monkeypatch.setattr(MlflowClient, "create_experiment", create)
        move(uri, 2, 1)
        return create(client, name, **named)

    monkeypatch.setattr(MlflowClient, "create_experiment", beaten)
    with pytest.raises(Overtaken, match="version 2"):
        move(uri, 3, 1)
    assert alias(uri) == 2


def test_a_request_that_was_sent_twice_meets_its_own_claim_and_has_won(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = MlflowClient.create_experiment

    def twice(client: Any, name: str, **named: Any) -> str:
        create(client, name, **named)
        return create(client, name, **named)

    monkeypatch.setattr(MlflowClient, "create_experiment", twice)
    assert move(uri, 1, None).number == 1


STEPS = [
    ("create_experiment", 1),
    ("set_registered_model_alias", 1),
    *(("set_model_version_tag", call) for call in (1, 2)),
    ("set_registered_model_tag", 1),
    ("delete_experiment", 1),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("step", "call"), STEPS)
def test_a_process_killed_at_any_step_leaves_what_the_next_one_finishes(
    uri: str, journal: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int, after: bool
) -> None:
    move(uri, 1, None, journal)
    kill(monkeypatch, step, call, after)
    with pytest.raises(KeyboardInterrupt):
        move(uri, 2, 1, journal)
    monkeypatch.undo()
    found = settle(uri, NAME, journal)
    claimed = step != "create_experiment" or after
    assert found
    assert (found.number, found.version) == ((2, 2) if claimed else (1, 1))
    assert move(uri, 2, found.number, journal).number == 2
    assert alias(uri) == 2
    assert [entry["number"] for entry in Journal(journal).entries()] == [1, 2]


def kill(monkeypatch: pytest.MonkeyPatch, step: str, call: int, after: bool) -> None:
    original, calls = getattr(MlflowClient, step), iter(range(1, call + 1))

    def dying(*arguments: Any, **named: Any) -> Any:
        last = next(calls) == call
        if last and not after:
            raise KeyboardInterrupt
        result = original(*arguments, **named)
        if last:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(MlflowClient, step, dying)


def test_a_slow_process_that_sets_an_old_alias_late_sets_it_right_again(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    move(uri, 1, None)
    setting = MlflowClient.set_registered_model_alias

    def late(client: Any, name: str, alias: str, version: str) -> None:
        monkeypatch.setattr(MlflowClient, "set_registered_model_alias", setting)
        move(uri, 3, 2)  # another process finishes this one's change, and makes its own
        setting(client, name, alias, version)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", late)
    assert move(uri, 2, 1).number == 2
    assert alias(uri) == 3


def test_a_champion_from_before_changes_were_numbered_is_taken_up(uri: str) -> None:
    with store.connect(uri) as client:
        client.set_registered_model_alias(NAME, "champion", "2")
    found = head(uri, NAME)
    assert found
    assert (found.number, found.version, found.kind) == (0, 2, "found")
    with pytest.raises(Overtaken, match="before changes were recorded"):
        move(uri, 3, None)
    change = move(uri, 3, 0)
    assert (change.number, change.previous) == (1, 2)


@pytest.mark.parametrize("how", ["moved", "removed", "version deleted"])
def test_a_champion_that_was_moved_by_hand_stops_every_change_and_names_doctor(
    uri: str, how: str
) -> None:
    move(uri, 1, None)
    by_hand(uri, how)
    for action in (lambda: head(uri, NAME), lambda: move(uri, 3, 1), lambda: settle(uri, NAME)):
        with pytest.raises(InputError, match="mergegate doctor harbor"):
            action()
    assert alias(uri) == (2 if how == "moved" else None)


def by_hand(uri: str, how: str) -> None:
    with store.connect(uri) as client:
        if how == "moved":
            client.set_registered_model_alias(NAME, "champion", "2")
        elif how == "removed":
            client.delete_registered_model_alias(NAME, "champion")
        else:
            client.delete_model_version(NAME, "1")


def test_a_move_by_hand_is_adopted_as_a_change(uri: str, journal: Path) -> None:
    move(uri, 1, None, journal)
    by_hand(uri, "moved")
    change = adopt(uri, NAME, "the pager said so", journal)
    assert (change.number, change.version, change.previous) == (2, 2, 1)
    assert (change.kind, change.why) == ("adopted", "the pager said so")
    assert head(uri, NAME) == change
    assert Journal(journal).entries()[-1]["kind"] == "adopted"


def test_a_move_by_hand_can_be_undone_but_not_where_the_version_is_gone(uri: str) -> None:
    move(uri, 1, None)
    by_hand(uri, "removed")
    restore(uri, NAME)
    assert alias(uri) == 1
    by_hand(uri, "version deleted")
    with pytest.raises(InputError, match="gone"):
        restore(uri, NAME)


def test_claims_that_were_followed_are_out_of_the_list_and_their_names_stay_taken(uri: str) -> None:
    for number in (1, 2, 3):
        move(uri, number, number - 1 or None)
    with store.connect(uri) as client:
        shown = [e.name for e in client.search_experiments() if "champion" in e.name]
        assert shown == ["harbor champion 3"]
        assert [c.number for c in known_changes(client, NAME)] == [1, 2, 3]


def test_numbers_do_not_restart_when_mlflow_removes_deleted_experiments_for_good(
    uri: str, journal: Path, tmp_path: Path
) -> None:
    import sqlite3

    for number in (1, 2, 3):
        move(uri, number, number - 1 or None, journal)
    with sqlite3.connect(tmp_path / "mlflow.db") as database:  # as `mlflow gc`, and a person, do
        database.execute("DELETE FROM experiment_tags")
        database.execute("DELETE FROM experiments WHERE name LIKE 'harbor champion %'")
    found = head(uri, NAME)
    assert found
    assert found.number == 3
    assert move(uri, 1, 3, journal).number == 4
    assert [entry["number"] for entry in Journal(journal).entries()] == [1, 2, 3, 4]


def test_a_writer_so_slow_that_its_number_was_freed_does_not_win(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlite3

    move(uri, 1, None)
    create = MlflowClient.create_experiment

    def late(client: Any, name: str, **named: Any) -> str:
        monkeypatch.setattr(MlflowClient, "create_experiment", create)
        move(uri, 2, 1)
        move(uri, 1, 2)
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            database.execute("DELETE FROM experiments WHERE name = 'harbor champion 2'")
        return create(client, name, **named)

    monkeypatch.setattr(MlflowClient, "create_experiment", late)
    with pytest.raises(Overtaken):
        move(uri, 3, 1)
    assert alias(uri) == 1


def test_an_edited_claim_is_named(uri: str) -> None:
    move(uri, 1, None)
    with store.connect(uri) as client:
        client.set_registered_model_tag(NAME, "mergegate.change", "{}")
    with pytest.raises(CorruptArtifactError, match=r"harbor: a change .* not as it was written"):
        head(uri, NAME)


def test_an_altered_journal_stops_a_change_before_it_is_made(uri: str, journal: Path) -> None:
    move(uri, 1, None, journal)
    journal.write_text(journal.read_text().replace("why 1", "why not"))
    with pytest.raises(CorruptArtifactError, match="line 1: altered"):
        move(uri, 2, 1, journal)
    assert alias(uri) == 1


def test_changes_of_another_machine_are_entered_before_ones_own(uri: str, journal: Path) -> None:
    other = journal.with_name("other.jsonl")
    move(uri, 1, None, other)
    move(uri, 2, 1, other)
    move(uri, 3, 2, journal)
    assert [entry["number"] for entry in Journal(journal).entries()] == [1, 2, 3]


def test_a_version_that_is_not_there_does_not_become_champion(uri: str) -> None:
    with pytest.raises(InputError, match="version 9 the champion, and that version is gone"):
        move(uri, 9, None)


def test_the_reason_is_cut_to_what_a_tag_holds_and_holds_no_password(uri: str) -> None:
    change = move_champion(
        uri,
        NAME,
        1,
        expected=None,
        kind="rollback",
        why="see http://ada:hunter22@wiki/ " + "x" * 50_000,
        release_digest="digest 1",
        journal=None,
    )
    assert "hunter22" not in change.why
    assert len(change.why) <= 2_000
    assert head(uri, NAME) == change


def test_who_is_named_by_a_variable_or_by_account_and_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in ("MERGEGATE_WHO", "GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        monkeypatch.delenv(variable, raising=False)
    assert "@" in who()
    monkeypatch.setenv("GITHUB_ACTOR", "robot")
    assert who() == "robot"
    monkeypatch.setenv("MERGEGATE_WHO", "a\x1b[31mb\nc" + "d" * 500)
    assert who().startswith("a[31mbc")
    assert len(who()) == 200


@pytest.mark.slow
@pytest.mark.parametrize("separate", [False, True], ids=["one journal", "a journal each"])
def test_processes_that_promote_at_once_lose_nothing(
    empty_store: Path, tmp_path: Path, separate: bool
) -> None:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    counts = contend(
        f"sqlite:///{tmp_path}/mlflow.db", 3, 3, tmp_path / "journals", separate=separate
    )
    assert counts["faults"] == []
    assert counts["changes"] == 9
    assert json.dumps(counts)


def test_a_registry_that_fails_in_the_middle_is_the_environment_s_fault(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException

    def down(*_: object) -> None:
        raise MlflowException("connection refused by http://ada:hunter22@host")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", down)
    with pytest.raises(EnvironmentFault, match="the registry failed") as caught:
        move(uri, 1, None)
    assert "hunter22" not in str(caught.value)
    monkeypatch.undo()
    assert move(uri, 1, None).number == 1
