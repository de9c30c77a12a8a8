"""The way back: only to a target that was loaded and checked, and only once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from release_family import (
    change_shipped_weights,
    register_all,
    register_shipped,
    register_target,
    verdict,
)

from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.facts import read_json, write_json
from pipeline.release import log_refusal, rehearse, rollback, status
from pipeline.release.changes import adopt
from pipeline.release.registry import Registered

Bundle = Callable[..., Path]


def test_a_rehearsal_loads_the_target_and_asks_each_expert_without_moving_the_champion(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    report = rehearse(uri, "harbor")
    assert [answer.expert for answer in report.answers] == ["json", "tone"]
    assert all(answer.observed == answer.expected for answer in report.answers)
    assert not report.moved
    assert status(uri, "harbor")["champion"]["version"] == 2


def test_each_expert_answers_by_itself(uri: str, bundle: Bundle) -> None:
    """Equal prompts, different adapters: an adapter that stays active would answer for the next."""
    from pipeline.release.answer import replies

    folders = {name: Path("models") / name for name in ("tone", "json")}
    kinds = dict.fromkeys(folders, "adapter")
    prompts = dict.fromkeys(folders, "hello")
    both = replies(
        Path("models/base"), folders, kinds, system="", prompts=prompts, max_new_tokens=8
    )
    assert both["tone"].text != both["json"].text
    for name in folders:
        alone = replies(
            Path("models/base"),
            {name: folders[name]},
            kinds,
            system="",
            prompts=prompts,
            max_new_tokens=8,
        )
        assert alone[name].text == both[name].text


def test_a_rollback_makes_the_unmerged_set_champion_and_keeps_the_reason(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    report = rollback(uri, "harbor", "tone complaints since Monday")
    assert (report.champion, report.target, report.moved) == (2, 1, True)
    found = status(uri, "harbor")
    assert found["champion"]["kind"] == "unmerged"
    assert found["target"] is None
    assert found["history"][1]["rolled_back"] == "tone complaints since Monday"


def test_a_second_rollback_changes_nothing(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    rollback(uri, "harbor", "first")
    before = status(uri, "harbor")
    assert not rollback(uri, "harbor", "second").moved
    assert status(uri, "harbor") == before


def test_a_rollback_killed_before_the_champion_moved_is_done_by_the_second_one(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    register_all(uri, bundle())

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            rollback(uri, "harbor", "why")
    assert rollback(uri, "harbor", "why").moved
    assert status(uri, "harbor")["champion"]["version"] == 1


def test_a_merge_that_was_rolled_back_stays_down_when_it_is_released_again(
    uri: str, bundle: Bundle
) -> None:
    release = bundle()
    register_all(uri, release)
    rollback(uri, "harbor", "why")
    register_all(uri, release)
    assert status(uri, "harbor")["champion"]["version"] == 1
    assert len(status(uri, "harbor")["history"]) == 2


def test_a_new_merge_after_a_rollback_becomes_champion(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    rollback(uri, "harbor", "why")
    change_shipped_weights()
    assert register_all(uri, bundle(seed=8)) == 3
    assert status(uri, "harbor")["champion"]["version"] == 3


def test_the_same_weights_stay_down_whatever_else_of_their_release_was_edited(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    rollback(uri, "harbor", "tone complaints")
    again = bundle(seed=8)  # another release digest, as by an edited policy
    held = register_shipped(uri, again, register_target(uri, again))
    assert held == Registered(3, "version 2, the same weights, was rolled back: tone complaints")
    assert status(uri, "harbor")["champion"]["version"] == 1


def test_weights_that_a_person_lets_serve_again_are_held_back_no_more(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    rollback(uri, "harbor", "tone complaints")
    register_all(uri, bundle(seed=8))
    rollback(uri, "harbor", "it was the proxy", to="3")
    assert [entry["rolled_back"] for entry in status(uri, "harbor")["history"]] == [None] * 3
    rollback(uri, "harbor", "a trial", to="unmerged")
    assert status(uri, "harbor")["history"][2]["rolled_back"] == "a trial"


@pytest.mark.parametrize("member", ["base", "tone"])
def test_a_target_with_one_changed_byte_is_refused_and_the_champion_stays(
    uri: str, bundle: Bundle, member: str
) -> None:
    register_all(uri, bundle())
    file = Path("models/base/model.safetensors")
    if member == "tone":
        file = _target_folder(uri) / "adapters" / "tone" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=rf"^{member} .*was released"):
        rollback(uri, "harbor", "why")
    assert status(uri, "harbor")["champion"]["version"] == 2


def test_a_manifest_that_names_other_adapters_is_refused(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    file = _target_folder(uri) / "unmerged.json"
    manifest = read_json(file)
    manifest["experts"]["tone"]["digest"] = "0" * 64
    write_json(file, manifest)
    with pytest.raises(CorruptArtifactError, match="is not the one that was registered"):
        rollback(uri, "harbor", "why")


def test_right_bytes_with_another_answer_stop_the_rollback_and_show_both(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    file = _target_folder(uri) / "unmerged.json"
    manifest = read_json(file)
    manifest["probe"]["answers"]["tone"] = "Sorry to hear that."
    write_json(file, manifest)
    with pytest.raises(EnvironmentFault, match=r"tone: .* instead of 'Sorry to hear that\.'"):
        rollback(uri, "harbor", "why")


def test_a_base_that_is_gone_is_named(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    shutil.rmtree("models/base")
    with pytest.raises((InputError, EnvironmentFault), match="models/base"):
        rollback(uri, "harbor", "why")


def test_the_adapters_may_be_gone_since_the_registry_has_them(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    shutil.rmtree("models/tone")
    shutil.rmtree("models/json")
    assert rollback(uri, "harbor", "why").moved


def test_without_a_champion_there_is_nothing_to_roll_back(uri: str, bundle: Bundle) -> None:
    register_target(uri, bundle())
    with pytest.raises(InputError, match="has no champion"):
        rollback(uri, "harbor", "why")


def test_a_champion_that_someone_else_registered_has_no_way_back(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    client = MlflowClient(uri, uri)
    strange = client.create_model_version("harbor", "models:/harbor/2")
    client.set_registered_model_alias("harbor", "champion", strange.version)
    with pytest.raises(InputError, match="somebody moved it in MLflow"):
        rollback(uri, "harbor", "why")
    with pytest.raises(InputError, match="carries no rollback pointer"):
        rehearse(uri, "harbor")
    adopt(uri, "harbor", "a trial", None)
    with pytest.raises(InputError, match=r"carries no rollback pointer.*Name a version with --to"):
        rollback(uri, "harbor", "why")
    assert rollback(uri, "harbor", "why", to="2").moved


def test_an_unknown_model_names_the_nearest_one(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    with pytest.raises(InputError, match=r"Did you mean harbor\?"):
        status(uri, "harbour")


def test_the_status_lists_refusals_and_is_plain_json(uri: str, bundle: Bundle) -> None:
    register_all(uri, bundle())
    refused = bundle(candidate="naive", verdict=verdict("reject"), quantized_files=None)
    log_refusal(uri, "harbor", refused)
    found = status(uri, "harbor")
    assert [(r["candidate"], r["outcome"]) for r in found["refusals"]] == [("naive", "reject")]
    assert json.loads(json.dumps(found)) == found


def _target_folder(uri: str) -> Path:
    return Path(MlflowClient(uri, uri).get_model_version_download_uri("harbor", "1"))
