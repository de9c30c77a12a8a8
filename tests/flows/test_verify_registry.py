"""`mergegate verify models:/…`: what a registry holds, against what was released."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from stored_workspace import EXPERTS, evaluation, load, write_merge, write_workspace
from typer.testing import CliRunner

from flows.cli import app
from flows.verify import verify, verify_version
from pipeline.code import code_digest
from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import canonical_json, write_evaluation, write_json, write_text
from pipeline.release import Probe, register_merge, register_unmerged
from pipeline.release.store import connect
from pipeline.sources import artifact_digest
from pipeline.stages import card, gate, judge

CHAMPION = "models:/harbor@champion"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a registry with the unmerged set as version 1 and its merge as version 2."""
    folder = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # What the experts answer is no matter here, and asking them takes models.
        patch.setattr("pipeline.release.unmerged.replies", lambda *_, **__: {})
        write_workspace(folder)
        write_sources(folder / "build")
        for stage in (judge, gate, card):
            stage.run("tuned")
        uri = f"sqlite:///{folder}/mlflow.db"
        register(uri)
        # Reading all of our code once is enough for a hundred tests.
        patch.setattr("flows.verify.judged.code_digest", functools.cache(code_digest))
        yield uri


def write_sources(build: Path) -> None:
    """Give base and adapters files, and pins and scores that fit them."""
    pins = load(build / "sources.json")["pins"]
    write_text(Path("models/base/model.safetensors"), "the base")
    pins["models/base"]["model"]["digest"] = artifact_digest(Path("models/base"))
    pins["models/base"]["digest"] = artifact_digest(Path("models/base"))
    for name, reference in EXPERTS.items():
        write_text(Path("models", name, "adapter.safetensors"), f"the adapter {name}")
        pins[reference]["adapter"]["digest"] = artifact_digest(Path("models", name))
    write_json(build / "sources.json", {"pins": pins})
    write_merge(build.parent, pins)
    write_evaluation(build / "evals", evaluation("base", pins["models/base"]["digest"]))


def register(uri: str) -> None:
    """Register both versions, as a release does."""
    release = Path("build/tuned/release")
    target = register_unmerged(
        uri,
        "harbor",
        load(release / "release.json")["rollback"],
        base=Path("models/base"),
        experts={name: Path("models", name) for name in EXPERTS},
        probe=Probe("", dict.fromkeys(EXPERTS, "hello"), 4),
    )
    model = Path("build/tuned/quantized")
    register_merge(uri, "harbor", model, release, rollback_version=target, expected=None)


def artifacts(uri: str, version: int) -> Path:
    """Where the store keeps the files of a version."""
    with connect(uri) as client:
        return Path(client.get_model_version_download_uri("harbor", str(version)))


@contextmanager
def changed(path: Path, content: str | None) -> Iterator[None]:
    """A file with other content, or without it, for a while."""
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if content is not None:
        path.write_text(content, encoding="utf-8")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if before is not None:
            path.write_bytes(before)
        elif not any(path.parent.iterdir()):
            path.parent.rmdir()


@contextmanager
def tagged(uri: str, version: int, tag: str, value: str | None) -> Iterator[None]:
    """A version with another tag, or without it, for a while."""
    with connect(uri) as client:
        before = client.get_model_version("harbor", str(version)).tags.get(tag)
        _tag(client, version, tag, value)
    try:
        yield
    finally:
        with connect(uri) as client:
            _tag(client, version, tag, before)


def _tag(client: Any, version: int, tag: str, value: str | None) -> None:
    if value is None:
        client.delete_model_version_tag("harbor", str(version), tag)
    else:
        client.set_model_version_tag("harbor", str(version), tag, value)


def test_the_champion_is_sound_by_its_files_its_tags_and_its_way_back(registry: str) -> None:
    found = verify_version(registry, CHAMPION)
    assert (found.faults, found.exit_code) == ((), 0)
    assert (found.release, found.kind, found.outcome) == ("models:/harbor/2", "merge", "promote")
    told = "\n".join(found.checked)
    assert "of the model, " in told
    assert "tags of version 2 against release.json" in told
    assert "the way back: version 1, by its digest" in told


def test_the_unmerged_set_is_sound_by_manifest_adapters_sources_and_tags(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verify_version(registry, "models:/harbor/1")
    assert (found.faults, found.kind, found.outcome) == ((), "unmerged", "")
    assert "2 adapters by SHA-256, and no other file" in found.checked
    assert any(line.startswith("base: models/base: ") for line in found.checked)
    monkeypatch.chdir(tmp_path)  # where no folder has that name
    elsewhere = verify_version(registry, "models:/harbor/1")
    assert elsewhere.faults == ()
    assert any("not fetched here: base, models/base" in note for note in elsewhere.notes)


def test_the_unmerged_set_as_champion_is_verified_and_said_to_be_it(registry: str) -> None:
    with connect(registry) as client:
        client.set_registered_model_alias("harbor", "champion", "1")
    try:
        done = CliRunner().invoke(app, ["verify", CHAMPION, "--uri", registry])
    finally:
        with connect(registry) as client:
            client.set_registered_model_alias("harbor", "champion", "2")
    assert done.exit_code == 0, done.output
    assert "models:/harbor/1: sound. It is the unmerged set" in done.output


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("model.safetensors", "others", "model.safetensors: is not as it was judged"),
        ("model.safetensors", None, "model.safetensors: is missing"),
        ("more.safetensors", "new", "more.safetensors: is no part of the model that was judged"),
        (".hidden", "new", ".hidden: is no part of the model that was judged"),
        ("sub/more.json", "{}", "sub/more.json: is no part of the model that was judged"),
        ("README.md", "other words", "README.md: is not the model card of the release"),
        ("release/policy.json", "{}", "release/policy.json: changed"),
        ("release/README.md", "other words", "release/README.md: changed"),
        ("release/recipe.yaml", None, "release/recipe.yaml: is missing"),
        ("release/more.txt", "new", "release/more.txt: is no part of the release"),
        ("release/release.json", "[]", "release/release.json: is no record"),
        ("release/release.json", None, "release/release.json: is missing among the artifacts"),
    ],
)
def test_a_changed_file_of_a_merge_is_found_and_named(
    registry: str, name: str, content: str | None, fault: str
) -> None:
    with changed(artifacts(registry, 2) / name, content):
        found = verify_version(registry, CHAMPION)
    assert found.exit_code == 2
    assert any(one.startswith(fault) for one in found.faults), found.faults


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("adapters/json/adapter.safetensors", "others", "adapters/json: is not models/base+models"),
        ("adapters/json/adapter.safetensors", None, "adapters/json: is not models/base+models"),
        ("adapters/other/adapter.safetensors", "new", "adapters/other/adapter.safetensors: is no"),
        ("adapters/json/.hidden", "new", "adapters/json/.hidden: is no part of the unmerged set"),
        ("more.txt", "new", "more.txt: is no part of the unmerged set"),
        ("unmerged.json", None, "unmerged.json: no such file"),
        ("unmerged.json", "[" * 100_000, "release.json: something in the folder is nested"),
    ],
)
def test_a_changed_file_of_the_unmerged_set_is_found_and_named(
    registry: str, name: str, content: str | None, fault: str
) -> None:
    with changed(artifacts(registry, 1) / name, content):
        found = verify_version(registry, "models:/harbor/1")
    assert found.exit_code == 2
    assert any(one.startswith(fault) for one in found.faults), found.faults


def test_a_member_of_another_digest_breaks_the_manifest_and_the_way_back(registry: str) -> None:
    path = artifacts(registry, 1) / "unmerged.json"
    manifest = load(path)
    manifest["base"]["digest"] = "0" * 64
    with changed(path, json.dumps(manifest)):
        own, merge = (
            verify_version(registry, "models:/harbor/1"),
            verify_version(registry, CHAMPION),
        )
    assert any(one.startswith("unmerged.json: base, experts: ") for one in own.faults)
    assert any(one.startswith("version 1: unmerged.json: is not the set ") for one in merge.faults)


def test_a_name_in_the_manifest_leads_to_no_other_folder(registry: str) -> None:
    path = artifacts(registry, 1) / "unmerged.json"
    manifest = load(path)
    manifest["experts"]["../../.."] = manifest["experts"].pop("json")
    with changed(path, json.dumps(manifest)):
        found = verify_version(registry, "models:/harbor/1")
    assert any("'../../..' is no name of an adapter" in one for one in found.faults)


MERGE_TAGS = (
    *("candidate", "recipe", "recipe_digest", "source_digests", "outcome", "verdict"),
    *("method_rationale", "artifact_digest", "rollback_digest", "rollback_version"),
    *("release_digest", "essence"),
)


def test_a_release_that_is_registered_under_another_name_is_named(registry: str) -> None:
    with connect(registry) as client:
        client.rename_registered_model("harbor", "impostor")
    try:
        faults = verify_version(registry, "models:/impostor/2").faults
    finally:
        with connect(registry) as client:
            client.rename_registered_model("impostor", "harbor")
    assert "registry: name: is impostor, and release.json says 'harbor'" in faults


@pytest.mark.parametrize("tag", MERGE_TAGS)
def test_an_altered_tag_of_a_merge_is_found_and_named(registry: str, tag: str) -> None:
    with tagged(registry, 2, f"mergegate.{tag}", "altered"):
        found = verify_version(registry, CHAMPION)
    assert found.exit_code == 2
    assert any(one.startswith(f"registry: mergegate.{tag}: ") for one in found.faults)


@pytest.mark.parametrize(
    "tag", [tag for tag in MERGE_TAGS if tag not in ("release_digest", "essence")]
)
def test_a_missing_tag_of_a_merge_is_found_and_named(registry: str, tag: str) -> None:
    with tagged(registry, 2, f"mergegate.{tag}", None):
        found = verify_version(registry, CHAMPION)
    assert any(one.startswith(f"registry: mergegate.{tag}: ") for one in found.faults)


@pytest.mark.parametrize("tag", ["base", "source_digests", "artifact_digest", "release_digest"])
def test_an_altered_tag_of_the_unmerged_set_is_found_and_named(registry: str, tag: str) -> None:
    with tagged(registry, 1, f"mergegate.{tag}", "altered"):
        found = verify_version(registry, "models:/harbor/1")
    assert any(one.startswith(f"registry: mergegate.{tag}: ") for one in found.faults)


@pytest.mark.parametrize("version", [1, 2])
def test_source_digests_as_earlier_releases_wrote_them_hold_and_an_edited_one_does_not(
    registry: str, version: int
) -> None:
    record = load(artifacts(registry, 2) / "release" / "release.json")
    pins = record["identity"]["sources"]
    before = {text: pin["digest"] for text, pin in pins.items()}
    if version == 1:
        members = [record["rollback"]["base"], *record["rollback"]["experts"].values()]
        before = {member["reference"]: member["digest"] for member in members}
    tag = "mergegate.source_digests"
    with tagged(registry, version, tag, canonical_json(before)):
        assert verify_version(registry, f"models:/harbor/{version}").faults == ()
    edited = {**before, "models/base": "0" * 64}
    with tagged(registry, version, tag, canonical_json(edited)):
        (fault,) = verify_version(registry, f"models:/harbor/{version}").faults
    assert fault.startswith(f"registry: {tag}.models/base: stored '0000")


def test_a_number_in_a_verdict_s_tag_is_named_by_its_path(registry: str) -> None:
    with connect(registry) as client:
        verdict = json.loads(client.get_model_version("harbor", "2").tags["mergegate.verdict"])
    verdict["rows"][0]["margin"] = 0.5
    with tagged(registry, 2, "mergegate.verdict", json.dumps(verdict)):
        faults = verify_version(registry, CHAMPION).faults
    assert "registry: mergegate.verdict.rows[0].margin: stored 0.5, computed 0.1" in faults


def test_a_way_back_that_leads_nowhere_or_elsewhere_is_a_fault(registry: str) -> None:
    with tagged(registry, 2, "mergegate.rollback_version", "9"):
        (fault,) = verify_version(registry, CHAMPION).faults
        assert "there is no version 9, so no way back" in fault
    with tagged(registry, 2, "mergegate.rollback_version", "2"):
        faults = verify_version(registry, CHAMPION).faults
        assert any("version 2: mergegate.kind: is merge, and the way back" in f for f in faults)


def test_artifacts_of_another_model_behind_a_version_are_a_fault(registry: str) -> None:
    with tagged(registry, 2, "mergegate.model_id", "m-0"):
        faults = verify_version(registry, CHAMPION).faults
    assert any(one.startswith("registry: source: is models:/m-") for one in faults)


def test_a_version_that_was_rolled_back_says_so(registry: str) -> None:
    with tagged(registry, 2, "mergegate.rolled_back", "complaints"):
        found = verify_version(registry, "models:/harbor/2")
    assert found.exit_code == 0
    assert "Version 2 was rolled back: complaints" in found.notes


def test_what_lies_elsewhere_is_copied_to_a_temporary_folder_that_is_removed(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.verify.registry.LOCAL", ())
    assert verify_version(registry, CHAMPION).faults == ()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_the_model_s_files_is_checked_with_them(
    registry: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(artifacts(registry, 2), tmp_path / "copy"))
    assert verify(folder).faults == ()
    (folder / "model.safetensors").write_text("others")
    assert verify(folder).faults == ("model.safetensors: is not as it was judged",)


def foreign(client: Any) -> None:
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "file:///nowhere")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("models:/harbor", "Write models:/NAME/VERSION or models:/NAME@champion"),
        ("models:/harbor/latest", "Write models:/NAME/VERSION"),
        ("models:/m-0123abc", "Write models:/NAME/VERSION"),
        ("models:/harbour/1", "is not a registered model. Did you mean harbor?"),
        ("models:/harbor/9", "has no version 9"),
        ("models:/harbor@nobody", "has no alias nobody"),
        ("models:/foreign/1", "mergegate did not register it"),
    ],
)
def test_what_cannot_be_verified_is_refused_in_words(
    registry: str, reference: str, words: str
) -> None:
    with connect(registry) as client:
        if not client.search_registered_models("name = 'foreign'"):
            foreign(client)
    with pytest.raises(InputError) as raised:
        verify_version(registry, reference)
    assert words in str(raised.value)


def test_a_registry_that_cannot_be_reached_ends_with_exit_code_6(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri in (f"sqlite:///{tmp_path}/none.db", "http://127.0.0.1:9"):
        with pytest.raises(EnvironmentFault):
            verify_version(uri, CHAMPION)
    assert EnvironmentFault.exit_code == 6


def test_a_full_disk_is_the_environment_s_fault(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flows.verify.registry.LOCAL", ())
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", full)
    with pytest.raises(EnvironmentFault, match=r"No space left .* in TMPDIR"):
        verify_version(registry, CHAMPION)
