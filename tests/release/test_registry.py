"""Registration: what a registry holds afterwards, whatever happened on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from release_family import (
    EXPERTS,
    PROBE,
    RECIPE,
    register_all,
    register_shipped,
    register_target,
    verdict,
)

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.facts import read_json, write_json
from pipeline.release import log_refusal, register_unmerged, status
from pipeline.release.inventory import pinned_name
from pipeline.sources import artifact_digest

Bundle = Callable[..., Path]


def test_a_release_makes_one_version_for_the_unmerged_set_and_one_for_the_merge(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    assert [entry["kind"] for entry in status(uri, "harbor")["history"]] == ["unmerged", "merge"]
    assert status(uri, "harbor")["champion"]["version"] == 2


def test_the_merge_says_what_it_is_in_its_tags(uri: str, bundle: Bundle) -> None:
    release = bundle()
    register_all(uri, release)
    record = read_json(release / "release.json")
    tags = MlflowClient(uri, uri).get_model_version_by_alias("harbor", "champion").tags
    assert tags["mergegate.recipe"] == RECIPE
    assert tags["mergegate.release_digest"] == record["release_digest"]
    assert json.loads(tags["mergegate.verdict"])["outcome"] == "promote"
    sources = {f"models/{name}" for name in ("base", *EXPERTS)}
    assert set(json.loads(tags["mergegate.source_digests"])) == sources
    assert "| merged | 0.960 | 4.900 |" in tags["mergegate.comparison"]
    assert "a plain sum keeps both." in tags["mergegate.method_rationale"]
    assert tags["mergegate.artifact_digest"] == artifact_digest(Path("shipped"))


def test_an_artifact_has_one_digest_in_every_version_that_names_it(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    client = MlflowClient(uri, uri)
    for version in ("1", "2"):
        tags = client.get_model_version("harbor", version).tags
        assert json.loads(tags["mergegate.source_digests"]) == {
            f"models/{name}": artifact_digest(Path("models", name)) for name in ("base", *EXPERTS)
        }


def test_a_source_of_the_hub_or_a_registry_is_named_with_its_revision() -> None:
    assert pinned_name("acme/base", "c" * 40) == f"acme/base@{'c' * 40}"
    assert pinned_name("models:/harbor@champion", "3") == "models:/harbor/3"
    assert pinned_name("models:/harbor/3", "3") == "models:/harbor/3"
    assert pinned_name("models/base", None) == "models/base"


def test_the_rollback_pointer_is_a_version_number_and_a_digest_never_an_alias(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    client = MlflowClient(uri, uri)
    champion = client.get_model_version_by_alias("harbor", "champion")
    target = client.get_model_version("harbor", champion.tags["mergegate.rollback_version"])
    assert champion.tags["mergegate.rollback_version"] == "1"
    assert champion.tags["mergegate.rollback_digest"] == target.tags["mergegate.artifact_digest"]
    assert target.aliases == []


def test_the_champion_s_folder_is_the_checkpoint_that_was_judged_with_its_card_and_evidence(
    uri: str, bundle: Bundle, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    register_all(uri, bundle())
    client = MlflowClient(uri, uri)
    source = client.get_model_version_download_uri("harbor", "2")
    folder = Path(download_artifacts(source, dst_path=str(tmp_path / "champion"), tracking_uri=uri))
    assert AutoModelForCausalLM.from_pretrained(folder).num_parameters() > 0
    assert (folder / "README.md").read_text().startswith("---\n")
    assert {path.name for path in (folder / "release").iterdir()} == {
        *("README.md", "report.html", "bom.cdx.json", "recipe.yaml", "verdict.json"),
        *("release.json", "signing.pub", "provenance.intoto.json", "model.sig"),
    }


def test_registering_twice_changes_nothing(uri: str, bundle: Bundle) -> None:
    release = bundle()
    register_all(uri, release)
    before = status(uri, "harbor")
    register_all(uri, release)
    assert status(uri, "harbor") == before


def test_a_second_release_of_the_same_adapters_shares_their_version(
    uri: str, bundle: Bundle
) -> None:
    register_all(uri, bundle())
    register_all(uri, bundle(seed=8))
    history = status(uri, "harbor")["history"]
    assert [entry["kind"] for entry in history] == ["unmerged", "merge", "merge"]
    assert status(uri, "harbor")["champion"]["version"] == 3


# Every step that a first release takes in MLflow: (method, which of its calls).
STEPS = [
    ("create_experiment", 1),
    ("create_run", 1),
    ("log_batch", 1),
    ("log_outputs", 1),
    ("set_terminated", 1),
    ("update_registered_model", 1),
    *((step, call) for call in (1, 2) for step in ("create_logged_model", "finalize_logged_model")),
    *(("log_model_artifacts", call) for call in (1, 2, 3)),
    ("create_registered_model", 1),
    *(("create_model_version", call) for call in (1, 2)),
    # The claim on the champion is the second experiment.
    ("create_experiment", 2),
    ("set_registered_model_alias", 1),
    *(("set_model_version_tag", call) for call in (1, 2)),
    ("set_registered_model_tag", 1),
]


@pytest.mark.parametrize(("step", "call"), STEPS)
def test_a_release_killed_before_any_step_and_started_again_ends_with_one_version_each(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    release = bundle()
    with monkeypatch.context() as patch:
        _kill_at(patch, step, call)
        with pytest.raises(KeyboardInterrupt):
            register_all(uri, release)
    register_all(uri, release)
    found = status(uri, "harbor")
    assert [entry["kind"] for entry in found["history"]] == ["unmerged", "merge"]
    assert found["champion"]["version"] == 2
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("harbor").experiment_id
    assert len(client.search_logged_models([experiment])) == 2
    (run,) = client.search_runs([experiment])
    assert (run.info.status, run.data.metrics["promoted"]) == ("FINISHED", 1)
    assert run.info.run_id == client.get_model_version("harbor", "2").run_id
    assert len(run.outputs.model_outputs) == 1
    assert len(client.get_metric_history(run.info.run_id, "promoted")) == 1


def test_an_upload_that_was_cut_off_is_whole_after_the_second_run(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = bundle()
    target = register_target(uri, release)

    def cut(client: Any, model_id: str, local_dir: str, *_: Any) -> None:
        location = Path(client.get_logged_model(model_id).artifact_location)
        location.mkdir(parents=True)
        whole = (Path(local_dir) / "model.safetensors").read_bytes()
        (location / "model.safetensors").write_bytes(whole[:1000])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", cut)
        with pytest.raises(KeyboardInterrupt):
            register_shipped(uri, release, target)
    register_shipped(uri, release, target)
    location = Path(MlflowClient(uri, uri).get_model_version_download_uri("harbor", "2"))
    for file in Path("shipped").iterdir():
        assert (location / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("outcome", ["reject", "inconclusive", "cannot judge"])
def test_only_a_promoted_merge_becomes_a_version(uri: str, bundle: Bundle, outcome: str) -> None:
    release = bundle(verdict=verdict(outcome))
    target = register_target(uri, release)
    with pytest.raises(InputError, match="only a promoted merge becomes a version"):
        register_shipped(uri, release, target)
    assert [entry["kind"] for entry in status(uri, "harbor")["history"]] == ["unmerged"]


def test_a_refusal_is_a_run_with_its_verdict_and_no_version(uri: str, bundle: Bundle) -> None:
    release = bundle(verdict=verdict("reject"), quantized_files=None)
    run = log_refusal(uri, "harbor", release)
    client = MlflowClient(uri, uri)
    assert client.search_model_versions("name = 'harbor'") == []
    assert client.get_run(run).data.tags["mergegate.outcome"] == "reject"
    assert "verdict.json" in {file.path for file in client.list_artifacts(run)}


def test_a_refusal_logged_twice_or_after_an_interruption_is_one_run(
    uri: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = bundle(verdict=verdict("reject"), quantized_files=None)
    with monkeypatch.context() as patch:
        _kill_at(patch, "log_artifacts")
        with pytest.raises(KeyboardInterrupt):
            log_refusal(uri, "harbor", release)
    run = log_refusal(uri, "harbor", release)
    assert log_refusal(uri, "harbor", release) == run
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("harbor").experiment_id
    (found,) = client.search_runs([experiment])
    assert found.info.status == "FINISHED"
    assert "verdict.json" in {file.path for file in client.list_artifacts(run)}


def test_a_model_that_is_not_the_one_judged_is_refused_and_the_file_named(
    uri: str, bundle: Bundle
) -> None:
    release = bundle()
    target = register_target(uri, release)
    _flip_last_byte(Path("shipped/model.safetensors"))
    with pytest.raises(CorruptArtifactError, match=r"these files differ: model\.safetensors"):
        register_shipped(uri, release, target)


def test_a_file_added_to_the_model_after_the_verdict_is_refused(uri: str, bundle: Bundle) -> None:
    release = bundle()
    target = register_target(uri, release)
    Path("shipped/generation_config.json").write_text("{}")
    Path("shipped/extra.json").write_text("{}")
    with pytest.raises(CorruptArtifactError, match=r"extra\.json, generation_config\.json"):
        register_shipped(uri, release, target)


def test_an_edited_verdict_does_not_promote(uri: str, bundle: Bundle) -> None:
    release = bundle(verdict=verdict("reject"))
    target = register_target(uri, release)
    edited = read_json(release / "release.json")
    edited["verdict"]["outcome"] = edited["identity"]["outcome"] = "promote"
    write_json(release / "release.json", edited)
    with pytest.raises(CorruptArtifactError, match="release_digest"):
        register_shipped(uri, release, target)


def test_an_adapter_changed_since_it_was_pinned_is_not_registered(uri: str, bundle: Bundle) -> None:
    release = bundle()
    _flip_last_byte(Path("models/json/adapter_model.safetensors"))
    with pytest.raises(CorruptArtifactError, match=r"json .*have the digest .* was released"):
        register_target(uri, release)
    assert not Path("mlruns").exists()


def test_the_rollback_version_must_hold_the_set_that_the_release_names(
    uri: str, bundle: Bundle, record: Callable[..., dict[str, Any]]
) -> None:
    only_tone = record(experts={"tone": EXPERTS["tone"]})["rollback"]
    base, tone = Path("models/base"), {"tone": Path("models/tone")}
    probe = PROBE
    version = register_unmerged(uri, "harbor", only_tone, base=base, experts=tone, probe=probe)
    with pytest.raises(InputError, match="Version 1 of harbor is not the unmerged set"):
        register_shipped(uri, bundle(), version)


def test_the_unmerged_version_copies_adapters_and_refers_to_the_base(
    uri: str, bundle: Bundle
) -> None:
    register_target(uri, bundle())
    location = Path(MlflowClient(uri, uri).get_model_version_download_uri("harbor", "1"))
    assert artifact_digest(location / "adapters" / "tone") == artifact_digest(Path("models/tone"))
    assert not list(location.rglob("model.safetensors"))
    manifest = read_json(location / "unmerged.json")
    assert manifest["base"]["reference"] == "models/base"
    assert manifest["base"]["digest"] == artifact_digest(Path("models/base"))


def test_a_full_fine_tune_is_referred_to_as_the_base_is(
    uri: str, record: Callable[..., dict[str, Any]], pins: dict[str, Any]
) -> None:
    shutil.copytree("models/base", "models/tuned")
    pins["models/tuned"] = {**pins["models/base"], "reference": "models/tuned"}
    experts = {"full": "models/tuned", "tone": EXPERTS["tone"]}
    folders = {"full": Path("models/tuned"), "tone": Path("models/tone")}
    unmerged = record(experts=experts, pins=pins)["rollback"]
    base, probe = Path("models/base"), PROBE
    register_unmerged(uri, "harbor", unmerged, base=base, experts=folders, probe=probe)
    location = Path(MlflowClient(uri, uri).get_model_version_download_uri("harbor", "1"))
    assert [path.name for path in (location / "adapters").iterdir()] == ["tone"]


def _kill_at(patch: pytest.MonkeyPatch, step: str, call: int = 1) -> None:
    """Die instead of making the given call of a method of MlflowClient."""
    original, calls = getattr(MlflowClient, step), iter(range(1, call + 1))

    def dying(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    patch.setattr(MlflowClient, step, dying)


def _flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
