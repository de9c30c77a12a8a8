"""doctor: what is off is named by a stable code, what is safe is mended, and nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from release_family import register_all, register_target, verdict

from flows.doctor import Examination, Patient, look, mend
from pipeline.errors import InputError
from pipeline.facts import read_json
from pipeline.folders import TEMPORARY
from pipeline.release import changes, doctor, log_refusal, register_merge, status, store
from pipeline.release.changes import head, move_champion
from pipeline.release.journal import Journal

Bundle = Callable[..., Path]
NAME = "harbor"


@pytest.fixture
def patient(
    uri: str,
    bundle: Bundle,
    workspace: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Patient:
    """A healthy registry of two versions, and its workspace; nothing in it is too young to be left over."""
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    monkeypatch.setattr(doctor, "YOUNG_S", -1.0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("tmp")))
    release, journal = bundle(), workspace / ".mergegate" / "journal" / "harbor.jsonl"
    target = register_target(uri, release)
    register_merge(
        uri, NAME, Path("shipped"), release, rollback_version=target, expected=None, journal=journal
    )
    return Patient(uri, NAME, journal, workspace)


def codes(found: Examination) -> list[str]:
    return [ailment.code for ailment, _ in found.left]


def located(patient: Patient, version: str) -> Path:
    client = MlflowClient(patient.uri, patient.uri)
    return Path(client.get_model_version_download_uri(NAME, version).removeprefix("file://"))


def test_a_sound_registry_is_healthy_and_mending_it_changes_nothing(patient: Patient) -> None:
    assert look(patient).to_json() == {
        **{"name": NAME, "healthy": True, "mended": [], "left": []},
        **{"journal": str(patient.journal), "notes": []},
    }
    before = status(patient.uri, NAME)
    assert mend(patient).exit_code == 0
    assert status(patient.uri, NAME) == before


def test_looking_mends_nothing(patient: Patient) -> None:
    assert patient.journal
    patient.journal.unlink()
    assert codes(look(patient)) == ["journal-lacks"]
    assert not patient.journal.exists()


def test_a_change_that_the_journal_lacks_is_added_as_observed(patient: Patient) -> None:
    assert patient.journal
    patient.journal.unlink()
    assert mend(patient).exit_code == 0
    (entry,) = Journal(patient.journal).entries()
    assert entry["observed"]
    assert entry["version"] == 2


def test_a_claim_that_was_not_finished_is_finished(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", die)
        with pytest.raises(KeyboardInterrupt):
            move_to_unmerged(patient)
    assert "change-open" in codes(look(patient))
    assert mend(patient).exit_code == 0
    assert status(patient.uri, NAME)["champion"]["version"] == 1
    assert patient.journal
    assert len(Journal(patient.journal).entries()) == 2


def move_to_unmerged(patient: Patient) -> None:
    with store.connect(patient.uri) as client:
        digest = store.digest_of_version(client, NAME, 1)
    move_champion(
        patient.uri,
        NAME,
        1,
        expected=1,
        kind="rollback",
        why="",
        release_digest=digest or "",
        journal=None,
    )


def test_a_champion_moved_by_hand_is_a_person_s_to_decide(patient: Patient) -> None:
    with store.connect(patient.uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    assert codes(mend(patient)) == ["champion-moved"]
    assert mend(patient).exit_code == 2
    adopted = mend(patient, by_hand="adopt", why="the pager")
    assert adopted.exit_code == 0
    assert [ailment.code for ailment in adopted.mended] == ["champion-moved"]
    last = head(patient.uri, NAME)
    assert last
    assert (last.version, last.kind, last.why) == (1, "adopted", "the pager")


def test_a_move_by_hand_can_be_undone(patient: Patient) -> None:
    with store.connect(patient.uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    assert mend(patient, by_hand="restore").exit_code == 0
    assert status(patient.uri, NAME)["champion"]["version"] == 2


def test_an_altered_journal_is_never_mended(patient: Patient) -> None:
    assert patient.journal
    patient.journal.write_text(patient.journal.read_text().replace("promotion", "rollback"))
    before = patient.journal.read_bytes()
    found = mend(patient)
    assert "journal-altered" in codes(found)
    assert found.exit_code == 2
    assert patient.journal.read_bytes() == before


def test_a_torn_last_line_is_cut(patient: Patient) -> None:
    assert patient.journal
    whole = patient.journal.read_bytes()
    patient.journal.write_bytes(whole + b'{"number":')
    assert codes(look(patient)) == ["journal-torn"]
    assert mend(patient).exit_code == 0
    assert patient.journal.read_bytes() == whole


def test_a_registry_restored_from_an_old_backup_is_found_by_the_journal(
    patient: Patient, workspace: Path
) -> None:
    shutil.copy("mlflow.db", "backup.db")
    move = {"kind": "rollback", "why": "", "journal": patient.journal}
    with store.connect(patient.uri) as client:
        digest = store.digest_of_version(client, NAME, 1)
    move_champion(patient.uri, NAME, 1, expected=1, release_digest=digest or "", **move)  # type: ignore[arg-type]
    shutil.copy("backup.db", "restored.db")
    restored = Patient(f"sqlite:///{workspace}/restored.db", NAME, patient.journal, None)
    assert codes(look(restored)) == ["registry-lacks"]
    assert look(restored).exit_code == 2


def test_another_registry_s_change_under_the_same_number_is_found(patient: Patient) -> None:
    assert patient.journal
    (entry,) = Journal(patient.journal).entries()
    patient.journal.unlink()
    changed = {k: v for k, v in entry.items() if k not in ("digest", "prior")} | {"version": 1}
    Journal(patient.journal).append(changed)
    assert codes(mend(patient)) == ["journal-differs"]


def test_a_deleted_rollback_target_is_found_and_pointed_to_anew_once_it_is_registered_again(
    patient: Patient, bundle: Bundle
) -> None:
    with store.connect(patient.uri) as client:
        client.delete_model_version(NAME, "1")
        model = client.get_model_version(NAME, "2").tags
    assert model["mergegate.rollback_version"] == "1"
    found = mend(patient)
    assert "target-gone" in codes(found)
    assert found.exit_code == 2
    assert register_target(patient.uri, bundle()) == 3
    mended = mend(patient)
    assert mended.exit_code == 0
    with store.connect(patient.uri) as client:
        assert client.get_model_version(NAME, "2").tags["mergegate.rollback_version"] == "3"


def test_a_target_whose_digest_changed_is_never_mended(patient: Patient) -> None:
    with store.connect(patient.uri) as client:
        client.set_model_version_tag(NAME, "1", store.RELEASE_DIGEST, "0" * 64)
    found = mend(patient)
    assert "target-changed" in codes(found)
    assert found.exit_code == 2


@pytest.mark.parametrize(
    ("version", "file", "role"),
    [
        ("2", "model.safetensors", "champion"),
        ("2", "release/release.json", "champion"),
        ("2", "release/verdict.json", "champion"),
        ("1", "adapters/tone/adapter_model.safetensors", "target"),
        ("1", "unmerged.json", "target"),
    ],
)
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_changed_or_missing_file_of_champion_or_target_is_named(
    patient: Patient, version: str, file: str, role: str, how: str
) -> None:
    path = located(patient, version) / file
    if how == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    left = mend(patient).left
    assert {ailment.code for ailment, _ in left} == {f"{role}-bytes-changed"}
    assert any(Path(file).parts[0] in a.message or Path(file).name in a.message for a, _ in left)
    assert codes(look(Patient(**{**vars(patient), "quick": True}))) == []


def test_artifacts_that_are_gone_are_named(patient: Patient) -> None:
    shutil.rmtree(located(patient, "2"))
    assert codes(mend(patient)) == ["champion-bytes-gone"]


def test_a_registration_that_was_interrupted_is_named_and_cleared_but_not_while_it_may_run(
    patient: Patient, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "finalize_logged_model", die)
        with pytest.raises(KeyboardInterrupt):
            register_all(patient.uri, bundle(seed=8))
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "YOUNG_S", 3600.0)
        young = mend(patient)
        assert codes(young) == ["model-left", "run-left"]
        assert "a release may be at it" in young.left[0][1]
    assert mend(patient).exit_code == 0
    assert codes(look(patient)) == []
    assert register_all(patient.uri, bundle(seed=8)) == 3


def test_the_artifacts_of_a_version_that_was_deleted_are_named_and_never_removed(
    patient: Patient,
) -> None:
    with store.connect(patient.uri) as client:
        target = client.get_model_version(NAME, "1")
        client.delete_model_version(NAME, "1")
        model_id = target.tags["mergegate.model_id"]
    found = mend(patient)
    assert "model-left" in [ailment.code for ailment, _ in found.left]
    with store.connect(patient.uri) as client:
        assert str(client.get_logged_model(model_id).status) == "READY"


def test_a_refusal_that_was_interrupted_is_ended_and_filled_by_the_next_one(
    patient: Patient, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = bundle(verdict=verdict("reject"), quantized_files=None)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", die)
        with pytest.raises(KeyboardInterrupt):
            log_refusal(patient.uri, NAME, refused)
    assert codes(look(patient)) == ["run-left"]
    assert mend(patient).exit_code == 0
    run = log_refusal(patient.uri, NAME, refused)
    assert MlflowClient(patient.uri, patient.uri).get_run(run).info.status == "FINISHED"


def test_a_promotion_that_was_interrupted_is_ended_and_filled_by_the_next_one(
    patient: Patient, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", die)
        with pytest.raises(KeyboardInterrupt):
            register_all(patient.uri, bundle(seed=8))
    ((ailment, _),) = look(patient).left
    assert (ailment.code, "a promotion, was never finished" in ailment.message) == (
        "run-left",
        True,
    )
    assert mend(patient).exit_code == 0
    assert register_all(patient.uri, bundle(seed=8)) == 3
    client = MlflowClient(patient.uri, patient.uri)
    run = client.get_run(client.get_model_version(NAME, "3").run_id)
    assert (run.info.status, run.data.metrics["promoted"]) == ("FINISHED", 1)


def test_a_version_without_its_logged_model_is_named(patient: Patient) -> None:
    with store.connect(patient.uri) as client:
        client.delete_logged_model(client.get_model_version(NAME, "1").tags["mergegate.model_id"])
    assert "version-unfinished" in codes(mend(patient))


def test_what_killed_runs_leave_on_the_disk_is_removed_and_nothing_else(
    patient: Patient, workspace: Path
) -> None:
    import tempfile

    gone = 4_000_000  # above what Linux gives a process
    left = [
        workspace / "build" / f".verdict.json.{gone}.part",
        workspace / ".mergegate" / f".hashes.json.{gone}.part",
    ]
    folders = [
        workspace / "build" / ".merged.part",
        workspace / ".mergegate" / "models" / ".part-abc",
        Path(tempfile.gettempdir()) / f"{TEMPORARY}abc",
    ]
    kept = [
        workspace / "build" / f".card.json.{os.getpid()}.part",
        workspace / "build" / "user.part",
        workspace / "build" / ".merged.old" / "model.safetensors",
    ]
    for path in (*left, *kept, *(folder / "file" for folder in folders)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    for folder in folders:
        os.utime(folder, (time.time() - 10_000,) * 2)
    found = mend(patient)
    assert not any(path.exists() for path in (*left, *folders))
    assert all(path.exists() for path in kept)
    # The only copy of a folder that was being replaced is the stage's to put back.
    assert [a.subject for a, _ in found.left] == [str(kept[-1].parent)]


def test_a_folder_that_is_being_written_is_left_alone(patient: Patient, workspace: Path) -> None:
    from pipeline.folders import FolderKind, whole_folder

    kind = FolderKind("a merge", "merge.json", lambda folder: (folder / "merge.json").is_file())
    with whole_folder(workspace / "build" / "merged", kind) as part:
        assert codes(mend(patient)) == []
        assert part.is_dir()


@pytest.mark.parametrize(
    ("content", "stale"),
    [
        ('{"write": {"/x": {"pid": 4000000, "cmd": "dvc repro"}}, "read": {}}', False),
        ('{"write": {"/x', True),
        ("{}", False),
        (json.dumps({"write": {}, "read": {"/x": [{"pid": os.getpid(), "cmd": "dvc"}]}}), False),
    ],
    ids=["of a dead process", "torn", "empty", "of a living process"],
)
def test_a_torn_lock_of_dvc_is_removed_and_no_other(
    patient: Patient, workspace: Path, content: str, stale: bool
) -> None:
    lock = workspace / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir(parents=True)
    lock.write_text(content)
    assert codes(look(patient)) == (["stale-lock"] if stale else [])
    assert mend(patient).exit_code == 0
    assert lock.exists() is not stale


def test_a_corrupt_file_of_dvc_s_cache_is_named_and_removed(
    patient: Patient, workspace: Path
) -> None:
    def cached(content: bytes, suffix: str = "") -> tuple[str, Path]:
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest() + suffix
        path = workspace / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)
        return digest, path

    inner, file = cached(b"weights")
    listed, folder = cached(
        json.dumps([{"md5": inner, "relpath": "model.safetensors"}]).encode(), ".dir"
    )
    plain, other = cached(b"verdict")
    (workspace / "dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  merge@tuned:\n    cmd: x\n    outs:\n"
        f"    - {{path: build/tuned/merged, md5: {listed}, size: 7, nfiles: 1}}\n"
        f"    - {{path: build/tuned/verdict.json, md5: {plain}, size: 7}}\n"
        "    - {path: build/tuned/gone.json, md5: 0123456789abcdef0123456789abcdef, size: 7}\n"
    )
    assert codes(look(patient)) == []
    file.chmod(0o644)
    file.write_bytes(b"weightz")
    (ailment,) = (a for a, _ in look(patient).left)
    assert ailment.code == "cache-corrupt"
    assert "build/tuned/merged/model.safetensors" in ailment.message
    assert mend(patient).exit_code == 0
    assert not file.exists()
    assert folder.exists()
    assert other.exists()


def test_the_command_reads_the_journal_where_the_registry_is_that_of_the_workspace(
    patient: Patient, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.app import app
    from flows.cli import guarded

    assert patient.journal
    text = Path(__file__).parents[2].joinpath("params.yaml").read_text(encoding="utf-8")
    params = yaml.safe_load(text) | {"name": NAME, "registry": {"uri": "sqlite:///mlflow.db"}}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    uri = f"sqlite:///{workspace}/mlflow.db"
    assert guarded(lambda: app(["doctor", NAME, "--uri", uri, "--quick"])) == 0
    assert capsys.readouterr().out == "harbor: healthy.\n"
    patient.journal.write_text(patient.journal.read_text().replace('"version":2', '"version":1'))
    assert guarded(lambda: app(["doctor", NAME, "--uri", uri, "--quick"])) == 2
    assert capsys.readouterr().out.startswith("journal-altered  .mergegate/journal/harbor.jsonl")


def test_a_reason_that_cannot_be_kept_is_refused_before_anything_is_mended(
    patient: Patient,
) -> None:
    with store.connect(patient.uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    for why in ("a\udcffb", "a" * 2001):
        with pytest.raises(InputError, match="--why: "):
            mend(patient, by_hand="adopt", why=why)
        with pytest.raises(InputError, match="--why: "):
            changes.adopt(patient.uri, NAME, why, patient.journal)
    assert codes(look(patient))[0] == "champion-moved"
    assert mend(patient, by_hand="adopt", why=" ").exit_code == 0
    assert status(patient.uri, NAME)["changes"][0]["why"] == "moved by hand in MLflow"


def test_the_command_says_all_of_it_and_ends_with_its_code(
    patient: Patient, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.app import app
    from flows.cli import guarded

    def run(*arguments: str) -> tuple[int, str]:
        code = guarded(lambda: app(["doctor", NAME, "--uri", patient.uri, *arguments]))
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    code, text = run()
    assert code == 0
    assert text.startswith("harbor: healthy, as far as the registry shows.\nnote: No journal was")
    notes = json.loads(run("--json")[1])
    assert (notes["journal"], len(notes["notes"])) == (None, 2)
    with store.connect(patient.uri) as client:
        client.set_registered_model_alias(NAME, "champion", "1")
    code, text = run()
    assert code == 2
    assert text.startswith("champion-moved  the alias champion is at version 1;")
    assert run("--adopt")[0] == 2
    assert run("--mend", "--adopt", "--restore")[0] == 2
    code, text = run("--mend", "--restore", "--json")
    assert code == 0
    assert json.loads(text)["mended"][0]["code"] == "champion-moved"
    assert read_json(Path("build/tuned/release/release.json"))["name"] == NAME
