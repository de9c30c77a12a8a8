"""Tags that repeat the champion's changes: an edited one is named, and put right only as the journal says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.release import changes, store
from pipeline.release.changes import head, move_champion, settle
from pipeline.release.doctor import Ailment, attempted
from pipeline.release.doctor_champion import examine_champion
from pipeline.release.journal import Journal

NAME = "harbor"
TAG = "mergegate.change"


@pytest.fixture(scope="module")
def built(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a registry of three versions and its journal: 1 and 2 became champion by changes 1 and 2."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copy(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder}/mlflow.db"
    with store.connect(uri) as client:
        client.create_registered_model(NAME)
        for number in (1, 2, 3):
            tags = {store.RELEASE_DIGEST: f"digest {number}"}
            client.create_model_version(NAME, f"file:///none/{number}", tags=tags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MERGEGATE_WHO", "ada")
        for number in (1, 2):
            move(uri, number, folder / "harbor.jsonl")
    return folder


@pytest.fixture
def journal(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(built / "harbor.jsonl", tmp_path))


@pytest.fixture
def uri(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test's own copy of the registry."""
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    return f"sqlite:///{shutil.copy(built / 'mlflow.db', tmp_path)}"


def move(uri: str, version: int, journal: Path | None) -> None:
    last = head(uri, NAME)
    move_champion(
        uri,
        NAME,
        version,
        expected=last.number if last else None,
        kind="promotion",
        why=f"why {version}",
        release_digest=f"digest {version}",
        journal=journal,
    )


def forge(uri: str, version: int, tag: str, value: str | None) -> None:
    with store.connect(uri) as client:
        if value is None:
            client.delete_model_version_tag(NAME, str(version), tag)
        else:
            client.set_model_version_tag(NAME, str(version), tag, value)


def forge_model(uri: str, **fields: Any) -> None:
    with store.connect(uri) as client:
        found = json.loads(client.get_registered_model(NAME).tags[TAG])
        client.set_registered_model_tag(NAME, TAG, json.dumps(found | fields))


def forge_claim(uri: str, number: int, **fields: Any) -> None:
    with store.connect(uri) as client:
        claim = client.get_experiment_by_name(f"{NAME} champion {number}")
        text = json.dumps(json.loads(claim.tags[TAG]) | fields)
        client.set_experiment_tag(claim.experiment_id, TAG, text)


def found(uri: str, journal: Path | None) -> list[Ailment]:
    return list(examine_champion(uri, NAME, journal))


FORGERIES: dict[str, tuple[Callable[[str], None], str, str]] = {
    "a number that there is not": (
        lambda uri: forge(uri, 2, TAG, "9"),
        "version 2",
        f"version 2: its tag {TAG}: is «9»; change 2, by ada at ",
    ),
    "another's number": (
        lambda uri: forge(uri, 1, TAG, "2"),
        "version 1",
        f"version 1: its tag {TAG}: is «2»; change 1, by ada at ",
    ),
    "no number": (
        lambda uri: forge(uri, 1, TAG, "first"),
        "version 1",
        f"version 1: its tag {TAG}: is «first»",
    ),
    "a number on a version that never was champion": (
        lambda uri: forge(uri, 3, TAG, "1"),
        "version 3",
        f"version 3: its tag {TAG}: is «1», and no change made this version champion.",
    ),
    "a number that is gone": (
        lambda uri: forge(uri, 2, TAG, None),
        "version 2",
        f"version 2: its tag {TAG}: is missing; change 2",
    ),
    "what it replaced": (
        lambda uri: forge(uri, 2, "mergegate.replaces", "3"),
        "version 2",
        "version 2: its tag mergegate.replaces: is «3»; change 2",
    ),
    "who, in the model's tag": (
        lambda uri: forge_model(uri, who="eve"),
        "model",
        "who is «eve» there, and «ada» in its claim",
    ),
    "why, in the model's tag": (
        lambda uri: forge_model(uri, why="asked to"),
        "model",
        "why is «asked to» there, and «why 2» in its claim",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_edited_tag_is_named_and_put_right_where_the_journal_bears_out_the_claim(
    uri: str, journal: Path, forgery: str
) -> None:
    assert found(uri, journal) == []
    edit, subject, words = FORGERIES[forgery]
    edit(uri)
    (alone,) = found(uri, None)  # one witness against another: a person must decide
    assert (alone.code, alone.mend) == ("tag-altered", None)
    assert "compare with a journal or a backup" in alone.remedy
    (ailment,) = found(uri, journal)
    assert (ailment.code, ailment.subject) == ("tag-altered", subject)
    assert words in ailment.message
    assert attempted(ailment) == ""
    assert found(uri, journal) == []


def test_entries_that_were_copied_from_the_claims_bear_out_no_claim(
    uri: str, journal: Path
) -> None:
    forge_model(uri, who="eve")
    journal.unlink()
    for ailment in found(uri, journal):
        if ailment.code == "journal-lacks":
            assert attempted(ailment) == ""
    (left,) = found(uri, journal)
    assert (left.code, left.mend) == ("tag-altered", None)


def test_an_edited_claim_is_told_by_field_and_does_not_reach_the_tags(
    uri: str, journal: Path
) -> None:
    forge_claim(uri, 2, who="eve")
    ailments = found(uri, journal)
    assert [a.code for a in ailments] == ["journal-differs", "tag-altered"]
    assert "change 2: who is «ada» there, and «eve» in the registry" in ailments[0].message
    assert all(ailment.mend is None for ailment in ailments)


def test_who_and_why_are_read_from_the_claim_and_an_edited_tag_does_not_reach_the_journal(
    uri: str, tmp_path: Path
) -> None:
    forge_model(uri, who="eve", why="asked to")
    other = tmp_path / "other.jsonl"  # of a machine that has not entered the change yet
    settle(uri, NAME, other)
    last = Journal(other).entries()[-1]
    assert (last["number"], last["who"], last["why"]) == (2, "ada", "why 2")


def test_an_edited_tag_does_not_hide_an_alias_that_was_moved(uri: str, journal: Path) -> None:
    forge_model(uri, version=1, release_digest="digest 1")
    with store.connect(uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    assert [a.code for a in found(uri, journal)] == ["champion-moved", "tag-altered"]
    with pytest.raises(InputError, match="mergegate doctor harbor"):
        move(uri, 3, journal)


def test_a_change_that_only_the_model_s_tag_has_is_never_added_to_the_journal(
    uri: str, journal: Path
) -> None:
    forge_model(uri, number=99)
    unclaimed, *_ = found(uri, journal)
    assert (unclaimed.code, unclaimed.mend) == ("change-unclaimed", None)
    assert "journal-lacks" not in [ailment.code for ailment in found(uri, journal)]
    assert "The last claim that is left is change 2, «harbor champion 2»" in unclaimed.remedy


def test_claims_that_mlflow_removed_for_good_are_no_ailment_while_the_journal_has_them(
    uri: str, journal: Path, tmp_path: Path
) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("DELETE FROM experiment_tags")
        database.execute("DELETE FROM experiments WHERE name LIKE 'harbor champion %'")
    assert found(uri, journal) == []
    forge(uri, 1, TAG, "2")
    assert [a.subject for a in found(uri, journal)] == ["version 1"]
    # Without the journal nothing is left to compare with but the model's tag, and that is said.
    assert "change-unclaimed" in [a.code for a in found(uri, None)]


@pytest.mark.parametrize(
    "fields",
    [{"number": "2"}, {"version": None}, {"when": "May"}, {"when": "2026-05-01T10:00"}, {"why": 7}],
    ids=["number as text", "no version", "no time", "no zone", "a number as reason"],
)
def test_a_tag_with_a_field_of_another_kind_is_named_and_no_fault_of_ours(
    uri: str, fields: dict[str, Any]
) -> None:
    forge_model(uri, **fields)
    with pytest.raises(CorruptArtifactError, match=r"harbor: a change .* is not as it was written"):
        head(uri, NAME)


def test_a_journal_that_is_a_folder_is_one_ailment_beside_the_others(
    uri: str, tmp_path: Path
) -> None:
    forge(uri, 3, TAG, "1")
    ailments = found(uri, tmp_path)
    assert [a.code for a in ailments] == ["journal-unreadable", "tag-altered"]
    assert "it is a folder" in ailments[0].message
