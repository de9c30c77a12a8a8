"""A source kept by reference is believed by its bytes: a retrain in place keeps name, size and even time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from release_family import EXPERTS, PROBE, register_shipped

from flows.doctor import Examination, Patient, look
from flows.verify import verify_version
from pipeline.errors import CorruptArtifactError
from pipeline.facts import digest_file, read_json
from pipeline.release import register_unmerged, rehearse_version, rollback, status
from pipeline.release.serving import serving
from pipeline.sources import Reference, artifact_digest, open_source, pin

Bundle = Callable[..., Path]
NAME = "harbor"
HASHES = Path(".mergegate/hashes.json")
FULL, BASE = "models/full", "models/base"
SOURCES = pytest.mark.parametrize(("member", "folder"), [("base", BASE), ("full", FULL)])


@pytest.fixture
def patient(uri: str, bundle: Bundle, pins: dict[str, Any], workspace: Path) -> Patient:
    """A merge and its rehearsed way back: a base, an adapter over it, and an expert that is a full fine-tune."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(BASE, FULL)
    weights = load_file(f"{FULL}/model.safetensors")
    save_file(
        {n: w * 1.5 for n, w in weights.items()}, f"{FULL}/model.safetensors", {"format": "pt"}
    )
    pins[FULL] = pin(open_source(Reference.parse(FULL)))
    experts = {"full": FULL, "tone": EXPERTS["tone"]}
    release = bundle(experts=experts, pins=pins)
    folders = {"full": Path(FULL), "tone": Path("models/tone")}
    unmerged = read_json(release / "release.json")["rollback"]
    probe = type(PROBE)("", {"full": "hello", "tone": "hello"}, 4)
    register_unmerged(uri, NAME, unmerged, base=Path(BASE), experts=folders, probe=probe)
    rehearse_version(uri, NAME, 1)
    register_shipped(uri, release, 1)
    journal = workspace / ".mergegate" / "journal" / "harbor.jsonl"
    assert [a.code for a, _ in look(Patient(uri, NAME, journal, workspace)).left] == [
        "journal-lacks"
    ]
    return Patient(uri, NAME, None, workspace, note="")


def retrained(folder: str) -> None:
    """Other weights under the same name, of the same size, with the time that they had."""
    file = Path(folder) / "model.safetensors"
    before, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def found(patient: Patient, *, quick: bool = False) -> Examination:
    return look(Patient(**{**vars(patient), "quick": quick}))


def remembered() -> None:
    """Let the cache of digests know the sources, as the stages of a release do."""
    for folder in (BASE, FULL):
        for file in Path(folder).iterdir():
            os.utime(file, (1e9, 1e9))
    _let_settle()
    for folder in (BASE, FULL):
        artifact_digest(Path(folder), HASHES)


def _let_settle() -> None:
    """Files changed within two seconds are not remembered: what could change again unseen is read again."""
    import time

    time.sleep(2.1)


@SOURCES
@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
def test_the_doctor_names_what_was_retrained_in_place(
    patient: Patient, member: str, folder: str, quick: bool
) -> None:
    assert found(patient, quick=quick).exit_code == 0
    registered = artifact_digest(Path(folder))
    retrained(folder)
    ((ailment, _),) = found(patient, quick=quick).left
    assert ailment.code == "target-source-changed"
    assert f"{member}: {folder}: " in ailment.message
    assert "model.safetensors changed" in ailment.message
    assert registered in ailment.message
    assert artifact_digest(Path(folder)) in ailment.message


@SOURCES
def test_a_rollback_to_a_source_retrained_in_place_is_refused_and_the_champion_stays(
    patient: Patient, member: str, folder: str
) -> None:
    remembered()
    registered = artifact_digest(Path(folder))
    retrained(folder)
    with pytest.raises(
        CorruptArtifactError, match=f"{member}: {folder}: not what was registered"
    ) as e:
        rollback(patient.uri, NAME, "why", hashes=HASHES)
    for said in (registered, artifact_digest(Path(folder)), "Put the registered files back"):
        assert said in str(e.value)
    found_now = status(patient.uri, NAME, hashes=HASHES)
    assert found_now["champion"]["version"] == 2
    assert "model.safetensors changed" in found_now["target_look"]["faults"][0]


@SOURCES
def test_what_was_retrained_in_place_is_not_served(
    patient: Patient, member: str, folder: str
) -> None:
    assert serving(patient.uri, NAME, unmerged=True).commands
    retrained(folder)
    with pytest.raises(CorruptArtifactError, match=f"{member}: {folder}: not what was registered"):
        serving(patient.uri, NAME, unmerged=True, hashes=HASHES)


@SOURCES
def test_verifying_the_set_reads_the_sources_that_are_here(
    patient: Patient, member: str, folder: str
) -> None:
    assert verify_version(patient.uri, f"models:/{NAME}/1").exit_code == 0
    retrained(folder)
    seen = verify_version(patient.uri, f"models:/{NAME}/1")
    assert [f.partition(": not")[0] for f in seen.faults] == [f"{member}: {folder}"]


def test_sources_that_are_as_remembered_are_not_read_again(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered()
    read: list[Path] = []

    def reading(path: Path) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr("pipeline.sources.hashes.digest_file", reading)
    assert rollback(patient.uri, NAME, "why", hashes=HASHES).moved
    assert read == []
    assert found(patient, quick=True).exit_code == 0
    assert read == []
    retrained(FULL)
    assert found(patient, quick=True).exit_code == 2
    assert read == [Path(FULL, "model.safetensors")]


def test_a_source_that_is_gone_is_named_in_its_workspace_and_elsewhere_not_looked_at(
    patient: Patient,
) -> None:
    shutil.rmtree(FULL)
    assert [a.code for a, _ in found(patient).left] == ["target-source-gone"]
    elsewhere = look(Patient(patient.uri, NAME, None, None))
    assert elsewhere.left == ()
    assert "was not looked at: run this in the workspace" in elsewhere.notes[1]


def test_after_a_rollback_the_champion_itself_is_what_is_looked_at(patient: Patient) -> None:
    assert rollback(patient.uri, NAME, "why").moved
    retrained(BASE)
    assert [a.code for a, _ in found(patient, quick=True).left] == ["champion-source-changed"]


def test_a_version_of_this_registry_that_a_set_refers_to_is_looked_at_where_its_artifacts_are_here(
    uri: str, bundle: Bundle, pins: dict[str, Any], workspace: Path
) -> None:
    from release_family import register_all

    from pipeline.release.referred import look_at
    from pipeline.release.store import connect

    register_all(uri, bundle())
    with connect(uri) as client:
        folder = Path(client.get_model_version_download_uri(NAME, "2"))
        member = {"reference": f"models:/{NAME}@champion", "revision": "2"}
        member["digest"] = artifact_digest(folder)
        MlflowClient(uri, uri).set_registered_model_alias(NAME, "champion", "1")
        assert (
            look_at(client, "base", member).state == "same"
        )  # the version, wherever its alias went
        retrained(str(folder))
        assert look_at(client, "base", member).state == "changed"
        other = {**member, "reference": "models:/nobody/7"}
        assert look_at(client, "base", other).state == "elsewhere"
        hub = {**member, "reference": "acme/base@main", "revision": "0" * 40}
        assert look_at(client, "base", hub).state == "elsewhere"
