"""What verify says of the tags that repeat the champion's changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.verify.changes import changes_fit
from flows.verify.result import Part
from flows.verify.tags import merge_tags_fit, unmerged_tags_fit
from pipeline.release import store
from pipeline.release.changes import move_champion

NAME, TAG = "harbor", "mergegate.change"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A registry whose version 2 became champion after version 1, both by ada."""
    monkeypatch.setenv("MERGEGATE_WHO", "ada")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with store.connect(uri) as client:
        client.create_registered_model(NAME)
        for number in (1, 2):
            tags = {store.RELEASE_DIGEST: f"digest {number}"}
            client.create_model_version(NAME, f"file:///none/{number}", tags=tags)
            move_champion(
                uri,
                NAME,
                number,
                expected=number - 1 or None,
                kind="promotion",
                why=f"why {number}",
                release_digest=f"digest {number}",
                journal=None,
            )
        yield client


def fit(client: Any, version: int) -> Part:
    return changes_fit(client.get_model_version(NAME, str(version)), "registry")


def test_forged_tags_of_version_and_model_are_differences(client: Any, tmp_path: Path) -> None:
    sound = fit(client, 2)
    assert (sound.faults, sound.notes) == ((), ())
    assert sound.checked[0].startswith("what tags say of change 2, by ada at ")
    model = json.loads(client.get_registered_model(NAME).tags[TAG])
    client.set_registered_model_tag(NAME, TAG, json.dumps({**model, "who": "eve"}))
    client.set_model_version_tag(NAME, "2", TAG, "1")
    of_tag, of_model = fit(client, 2).faults
    assert of_tag.startswith(f"registry: {TAG}: is «1»; change 2, by ada at ")
    assert of_model == f"registry: {TAG} of the model: who is «eve» there, and «ada» in its claim"
    assert fit(client, 1).faults == ()  # the model's tag speaks of version 2

    version = client.get_model_version(NAME, "2")
    for found in (merge_tags_fit(version, {}), unmerged_tags_fit(version, tmp_path / "none.json")):
        assert {of_tag, of_model} <= set(found.faults)


def test_a_claim_that_was_edited_is_a_difference_and_one_that_is_gone_a_note(
    client: Any, tmp_path: Path
) -> None:
    import sqlite3

    claim = client.get_experiment_by_name("harbor champion 2")
    client.set_experiment_tag(claim.experiment_id, TAG, "{}")
    (fault,) = fit(client, 2).faults
    assert fault.startswith("registry: harbor: a change of the champion is not as it was written")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("DELETE FROM experiments WHERE name = 'harbor champion 2'")
    (note,) = fit(client, 2).notes
    assert "by the model's tag mergegate.change alone" in note
    assert fit(client, 2).faults == ()


def test_an_alias_that_was_moved_by_hand_is_noted(client: Any) -> None:
    client.set_registered_model_alias(NAME, "champion", "1")
    found = fit(client, 1)
    assert found.faults == ()
    assert found.notes[0].startswith(
        "The alias champion is at this version, and the last change left it at version 2"
    )
    assert fit(client, 2).notes == ()
