"""A registry that lacks changes which the journal has: another one, or an old backup. Nothing is released there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from release_family import change_shipped_weights, register_shipped, register_target

from flows import release as flow
from flows.doctor import Patient, look
from pipeline.errors import InputError
from pipeline.release import changes, register_merge, rollback, status
from pipeline.release.changes import check_history, settle
from pipeline.release.journal import Journal

Bundle = Callable[..., Path]
NAME, JOURNAL = "harbor", Path(".mergegate/journal/harbor.jsonl")


@pytest.fixture
def moved(
    uri: str, bundle: Bundle, empty_store: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """A registry with two changes, one of before the second, and an empty one; and the journal of both changes."""
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    release = bundle()
    target = register_target(uri, release)
    begun: dict[str, Any] = {"rollback_version": target, "expected": None, "journal": JOURNAL}
    register_merge(uri, NAME, Path("shipped"), release, **begun)
    shutil.copy("mlflow.db", "backup.db")
    rollback(uri, NAME, "why", journal=JOURNAL)
    shutil.copy(empty_store, "empty.db")
    here = f"sqlite:///{workspace}"  # MLflow keeps its connections by their text
    return {"whole": uri, "backup": f"{here}/backup.db", "empty": f"{here}/empty.db"}


@pytest.mark.parametrize(
    ("registry", "knows"), [("empty", "knows none"), ("backup", "knows them up to number 1 only")]
)
@pytest.mark.parametrize("register", [True, False], ids=["release", "judge"])
def test_a_release_and_a_judgement_beside_a_longer_journal_are_refused_at_once(
    moved: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    registry: str,
    knows: str,
    register: bool,
) -> None:
    uri, before = moved[registry], JOURNAL.read_bytes()
    params = SimpleNamespace(registry_uri=uri, name=NAME, journal=JOURNAL)
    monkeypatch.setattr(flow, "load_params", lambda: params)
    with pytest.raises(InputError) as refused:
        flow.note.fn(register)
    said = str(refused.value)
    assert refused.value.exit_code == 2
    assert (
        f"has 2 changes of the champion of harbor, up to number 2, and the registry at {uri} {knows}"
        in said
    )
    assert f"`mergegate registry move --to {uri}` with the old address in registry.uri" in said
    assert "name another folder in registry.journal" in said
    assert JOURNAL.read_bytes() == before


def test_a_rollback_in_an_older_backup_would_take_a_number_twice_and_is_refused(
    moved: dict[str, str],
) -> None:
    with pytest.raises(InputError, match="knows them up to number 1 only"):
        rollback(moved["backup"], NAME, "why", journal=JOURNAL)
    assert status(moved["backup"], NAME)["champion"]["version"] == 2


def test_status_and_doctor_name_the_same_changes(moved: dict[str, str]) -> None:
    fault, *more = status(moved["backup"], NAME, JOURNAL)["journal"]["faults"]
    assert more == []
    assert (
        "has change 2, to version 1, and the registry does not. Until it has, nothing is" in fault
    )
    found = look(Patient(moved["backup"], NAME, JOURNAL, None))
    assert [ailment.code for ailment, _ in found.left] == ["registry-lacks"]
    assert "mergegate registry move" in found.left[0][1]


def test_a_registry_that_knows_all_of_the_journal_or_more_is_taken(
    moved: dict[str, str], bundle: Bundle
) -> None:
    check_history(moved["whole"], NAME, JOURNAL)
    change_shipped_weights()
    register_shipped(moved["whole"], bundle(seed=8), 1)  # a change of another machine
    check_history(moved["whole"], NAME, JOURNAL)
    last = settle(moved["whole"], NAME, JOURNAL)
    assert last
    assert [entry["number"] for entry in Journal(JOURNAL).entries()] == [1, 2, last.number]


def test_another_model_in_the_same_registry_begins_anew(moved: dict[str, str]) -> None:
    check_history(moved["empty"], "other", JOURNAL)
    check_history(moved["empty"], NAME, Path("elsewhere/harbor.jsonl"))
