"""What the registry says of the past: which version was champion when."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.record import read_champion_at
from pipeline.errors import InputError
from pipeline.release import claims, store
from pipeline.release.changes import move_champion
from pipeline.release.history import champion_at

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
            journal=None,
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
