"""Where a rollback goes, what it looks at, and that it takes seconds to what was rehearsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from release_family import change_shipped_weights, register_all

from flows import say
from pipeline.errors import CorruptArtifactError, InputError
from pipeline.release import changes, rehearse, rehearse_version, rollback, status
from pipeline.release.journal import Journal
from pipeline.release.proof import prove
from pipeline.release.registry import ROLLED_BACK
from pipeline.release.serving import serving
from pipeline.release.wholeness import REHEARSED

Bundle = Callable[..., Path]


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever loads a model from here on fails."""

    def fail(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipeline.release.answer.load_model", fail)


def test_a_target_that_was_rehearsed_becomes_champion_without_loading_a_model(
    uri: str, bundle: Bundle, request: pytest.FixtureRequest
) -> None:
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    request.getfixturevalue("no_model")
    report = rollback(uri, "harbor", "why")
    assert (report.moved, report.target, report.answers) == (True, 1, ())
    assert any("as at the rehearsal" in line for line in report.checked)


def test_a_target_that_was_never_rehearsed_is_loaded_first_and_once(
    uri: str, bundle: Bundle, request: pytest.FixtureRequest
) -> None:
    register_all(uri, bundle())
    assert rollback(uri, "harbor", "why").answers
    request.getfixturevalue("no_model")
    assert rollback(uri, "harbor", "up", to="2").moved
    assert rollback(uri, "harbor", "down again").moved


def test_thorough_loads_what_was_rehearsed_before(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    assert rollback(uri, "harbor", "why", thorough=True).answers


def test_a_rehearsal_of_another_digest_counts_for_nothing(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    client = MlflowClient(uri, uri)
    seen = json.loads(client.get_model_version("harbor", "1").tags[REHEARSED])
    client.set_model_version_tag("harbor", "1", REHEARSED, json.dumps({**seen, "digest": "0" * 64}))
    assert rollback(uri, "harbor", "why").answers  # loaded anew


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("adapters/tone/adapter_model.safetensors", "is missing"),
        ("adapters/tone/adapter_config.json", "changed"),
        ("adapters/tone/extra.json", "was not there before"),
        ("adapters/json/adapter_model.safetensors", "bytes instead of"),
    ],
)
def test_a_rehearsed_target_that_is_not_whole_any_more_is_refused_by_file(
    uri: str, bundle: Bundle, path: str, fault: str
) -> None:
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    file = _folder(uri, 1) / path
    if fault == "is missing":
        file.unlink()
    elif fault == "changed":
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    else:
        file.write_bytes((file.read_bytes() if file.is_file() else b"") + b"x")
    with pytest.raises(CorruptArtifactError, match=rf"not whole:\n  {path}: .*{fault}"):
        rollback(uri, "harbor", "why")
    assert status(uri, "harbor")["champion"]["version"] == 2
    assert path in status(uri, "harbor")["target_look"]["faults"][0]


def test_a_base_that_shrank_since_the_rehearsal_is_found_by_its_size(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    file = Path("models/base/model.safetensors")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(
        CorruptArtifactError, match=r"base: models/base: .*: model\.safetensors has .* instead of"
    ):
        rollback(uri, "harbor", "why")


def test_previous_is_the_champion_before_the_last_promotion_however_often_it_is_asked(
    uri: str, bundle: Bundle
) -> None:
    _two_merges(uri, bundle)
    first = rollback(uri, "harbor", "worse", to="previous")
    second = rollback(uri, "harbor", "worse", to="previous")
    assert (first.champion, first.target, first.moved) == (3, 2, True)
    assert (second.target, second.moved) == (2, False)
    assert status(uri, "harbor")["history"][2]["rolled_back"] == "worse"


def test_previous_after_a_rollback_to_the_unmerged_set_is_still_the_merge_before(
    uri: str, bundle: Bundle
) -> None:
    _two_merges(uri, bundle)
    rollback(uri, "harbor", "worse")
    assert rollback(uri, "harbor", "a merge will do", to="previous").target == 2


def test_the_first_champion_has_no_previous_one(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    with pytest.raises(InputError, match="no champion before this one"):
        rollback(uri, "harbor", "why", to="previous")


def test_previous_is_refused_where_that_one_was_rolled_back_itself(
    uri: str, bundle: Bundle
) -> None:
    _two_merges(uri, bundle)
    MlflowClient(uri, uri).set_model_version_tag("harbor", "2", ROLLED_BACK, "rude")
    with pytest.raises(InputError, match=r"version 2, which was rolled back itself \(rude\)"):
        rollback(uri, "harbor", "why", to="previous")


def test_a_version_that_was_rolled_back_serves_again_by_its_number_and_loses_the_tag(
    uri: str, bundle: Bundle
) -> None:
    _two_merges(uri, bundle)
    rollback(uri, "harbor", "worse", to="previous")
    assert rollback(uri, "harbor", "it was the proxy", to="3").moved
    found = status(uri, "harbor")
    assert found["champion"]["version"] == 3
    assert [entry["rolled_back"] for entry in found["history"]] == [None, None, None]
    assert not rollback(uri, "harbor", "it was the proxy", to="3").moved


@pytest.mark.parametrize(
    ("path", "fault"), [("model.safetensors", "is missing"), ("config.json", "changed")]
)
def test_a_merge_that_is_not_whole_is_no_target(
    uri: str, bundle: Bundle, path: str, fault: str
) -> None:
    _two_merges(uri, bundle)
    file = _folder(uri, 2) / path
    file.unlink() if fault == "is missing" else file.write_text("{}", encoding="utf-8")
    with pytest.raises(CorruptArtifactError, match=rf"version 2 is not whole:\n.*{path}: {fault}"):
        rollback(uri, "harbor", "why", to="previous")
    assert status(uri, "harbor")["champion"]["version"] == 3


def test_large_weights_that_were_cut_off_are_found_by_their_header(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.release.wholeness.SMALL", 10_000)
    _two_merges(uri, bundle)
    file = _folder(uri, 2) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptArtifactError, match=r"(?s)model\.safetensors.*truncated or changed"):
        rollback(uri, "harbor", "why", to="2")


def test_only_reading_all_finds_a_byte_changed_in_place_of_large_weights(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.release.wholeness.SMALL", 10_000)
    _two_merges(uri, bundle)
    file = _folder(uri, 2) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    with pytest.raises(CorruptArtifactError, match=r"model\.safetensors changed"):
        rollback(uri, "harbor", "why", to="2", thorough=True)
    assert rollback(uri, "harbor", "why", to="2").moved  # as docs/rollback.md says


@pytest.mark.parametrize(
    "to", ["2147483648", "9" * 20, "9" * 5_000], ids=["33 bits", "67", "16610"]
)
def test_a_number_that_no_version_can_have_is_refused_in_words(
    uri: str, bundle: Bundle, to: str
) -> None:
    register_all(uri, bundle())
    with pytest.raises(InputError, match=r"harbor has no such version.*above 2,147,483,647") as no:
        rollback(uri, "harbor", "why", to=to)
    assert len(str(no.value)) < 300


@pytest.mark.parametrize("to", ["7", "0", "-1", "last", "", "²"])
def test_what_is_no_target_is_refused_with_what_is(uri: str, bundle: Bundle, to: str) -> None:
    register_all(uri, bundle())
    words = "has no version 7; there is 1, 2" if to == "7" else "must be previous, unmerged or"
    with pytest.raises(InputError, match=words):
        rollback(uri, "harbor", "why", to=to)


def test_a_target_that_was_deleted_is_named_seen_in_the_status_and_points_to_the_doctor(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    MlflowClient(uri, uri).delete_model_version("harbor", "1")
    words = (
        "has no version 1; there is 2. It is the way back of version 2.*`mergegate doctor harbor`"
    )
    for ask in (
        lambda: rollback(uri, "harbor", "why"),
        lambda: rehearse(uri, "harbor"),
        lambda: serving(uri, "harbor", unmerged=True),
        lambda: prove(uri, "harbor"),
    ):
        with pytest.raises(InputError, match=words):
            ask()
    assert "mergegate doctor" in status(uri, "harbor")["target_look"]["faults"][0]


def test_a_target_registered_anew_under_the_same_number_is_refused(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    MlflowClient(uri, uri).set_model_version_tag(
        "harbor", "2", "mergegate.rollback_digest", "0" * 64
    )
    with pytest.raises(InputError, match=r"names 0{64} as its way back"):
        rollback(uri, "harbor", "why")


def test_a_rollback_is_recorded_with_person_reason_and_time(
    uri: str, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MERGEGATE_WHO", "Ida")
    register_all(uri, bundle())
    journal = tmp_path / "journal.jsonl"
    change = rollback(uri, "harbor", "tone complaints", journal=journal).change
    assert change is not None
    assert (change.kind, change.who, change.why) == ("rollback", "Ida", "tone complaints")
    assert (change.previous, change.version) == (2, 1)
    entry = Journal(journal).entries()[-1]
    assert (entry["who"], entry["why"], entry["when"]) == ("Ida", "tone complaints", change.when)
    shown = status(uri, "harbor")["changes"][0]
    assert (shown["number"], shown["who"], shown["why"]) == (2, "Ida", "tone complaints")


def test_without_a_reason_the_record_says_so(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    rollback(uri, "harbor", "")
    assert status(uri, "harbor")["changes"][0]["why"] == "no reason given"


def test_a_rollback_that_another_change_overtakes_moves_nothing(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    _two_merges(uri, bundle)
    move = changes.move_champion

    def late(*args: object, **options: object) -> object:
        monkeypatch.setattr(changes, "move_champion", move)
        rollback(uri, "harbor", "quicker", to="1")
        return move(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(changes, "move_champion", late)
    with pytest.raises(changes.Overtaken, match="became champion meanwhile"):
        rollback(uri, "harbor", "slower", to="2")
    assert status(uri, "harbor")["champion"]["version"] == 1


def test_of_two_rollbacks_at_once_the_second_is_told_that_its_reason_is_not_recorded(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register_all(uri, bundle())
    rehearse_version(uri, "harbor", 1)
    move = changes.move_champion

    def late(*args: object, **options: object) -> object:
        monkeypatch.setattr(changes, "move_champion", move)
        monkeypatch.setenv("MERGEGATE_WHO", "Ida")
        assert rollback(uri, "harbor", "rude").recorded
        monkeypatch.setenv("MERGEGATE_WHO", "Ole")
        return move(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(changes, "move_champion", late)
    second = rollback(uri, "harbor", "slow")
    assert not second.recorded
    assert second.change
    assert (second.change.who, second.change.why) == ("Ida", "rude")
    assert status(uri, "harbor")["history"][1]["rolled_back"] == "rude"
    say.rolled_back(second.to_json())
    told = capsys.readouterr().out
    assert "Nothing was recorded for this command, nor its reason: change 2 had made" in told
    assert "«by Ida: rude»" in told


def test_a_rollback_to_where_the_champion_is_says_who_put_it_there(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MERGEGATE_WHO", "Ida")
    register_all(uri, bundle())
    say.rolled_back(rollback(uri, "harbor", "rude").to_json())
    assert "Nothing was recorded" not in capsys.readouterr().out
    say.rolled_back(rollback(uri, "harbor", "slow").to_json())
    assert "change 2 had made version 1 champion already («by Ida: rude»" in capsys.readouterr().out


def test_a_rehearsal_of_a_merge_reads_every_file(uri: str, bundle: Bundle) -> None:
    _two_merges(uri, bundle)
    report = rehearse(uri, "harbor", to="previous")
    assert (report.target, report.moved) == (2, False)
    assert any(line.endswith("files by SHA-256") for line in report.checked)


def _two_merges(uri: str, bundle: Bundle) -> None:
    """Version 1 is the unmerged set, 2 and 3 are merges, 3 the champion."""
    register_all(uri, bundle())
    change_shipped_weights()
    register_all(uri, bundle(seed=8))


def _folder(uri: str, version: int) -> Path:
    return Path(MlflowClient(uri, uri).get_model_version_download_uri("harbor", str(version)))
