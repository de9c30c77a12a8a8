"""The harness sees what it is there to see: each invariant is broken once by hand, and named."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from survive_doctor import orphans
from survive_faults import flip
from survive_invariants import faults, has_champion
from survive_moments import Moments, durations
from survive_run import stage_name
from survive_workspace import NAME, Workspace

from pipeline.facts import digest_of
from pipeline.release.journal import Journal

RELEASE = "a" * 64
LOG = """\
23:59:50.000 | INFO    | Flow run 'release first' - Beginning flow run 'release first' for flow 'release'
23:59:58.000 | INFO    | Task run 'sources' - Finished in state Completed()
00:00:04.500 | INFO    | Task run 'evaluate-expert@lora0' - Finished in state Completed()
00:00:06.000 | INFO    | Task run 'evaluate-expert@lora1' - Finished in state Completed()
00:00:07.000 | INFO    | Task run 'look up ledger@first' - Finished in state Completed()
00:00:10.000 | INFO    | Task run 'register first' - Finished in state Completed()
"""
SCHEMA = """
create table registered_model_aliases (name text, alias text, version integer);
create table model_versions
    (name text, version integer, source text, storage_location text, current_stage text);
create table model_version_tags (name text, version integer, key text, value text);
create table logged_models (model_id text, artifact_location text,
    lifecycle_stage text default 'active', creation_timestamp_ms integer, last_updated_timestamp_ms integer);
"""


@pytest.fixture
def registered(tmp_path: Path) -> Workspace:
    """A registry whose champion is version 1, with the artifacts of a release of one file."""
    artifacts = tmp_path / "mlruns" / "1" / "models" / "m-1" / "artifacts"
    (artifacts / "release").mkdir(parents=True)
    (artifacts / "model.safetensors").write_bytes(b"weights")
    shipped = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    record = {"release_digest": RELEASE, "quantized_files": shipped, "files": {}}
    (artifacts / "release" / "release.json").write_text(json.dumps(record))
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.executescript(SCHEMA)
        store.execute(
            "insert into logged_models (model_id, artifact_location) values ('m-1', ?)",
            (str(artifacts),),
        )
    add_version(tmp_path, 1, RELEASE)
    change(tmp_path, f"insert into registered_model_aliases values ('{NAME}', 'champion', 1)")
    return Workspace(tmp_path, {})


def change(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / "mlflow.db") as store:
        for statement in statements:
            store.execute(statement)


def add_version(folder: Path, number: int, digest: str) -> None:
    tags = {"mergegate.release_digest": digest, "mergegate.model_id": "m-1"}
    change(
        folder,
        f"insert into model_versions values ('{NAME}', {number}, 'models:/m-1', null, 'None')",
        *(
            f"insert into model_version_tags values ('{NAME}', {number}, '{key}', '{value}')"
            for key, value in tags.items()
        ),
    )


def known(workspace: Workspace) -> dict[str, str]:
    return {RELEASE: digest_of({"model.safetensors": hashlib.sha256(b"weights").hexdigest()})}


def test_a_whole_champion_is_without_fault(registered: Workspace) -> None:
    assert faults(registered, champion_expected=True, known=known(registered)) == []
    assert orphans(registered, registered.folder / "scratch") == []
    assert has_champion(registered)


def artifact(workspace: Workspace) -> Path:
    return next(workspace.folder.rglob("model.safetensors"))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (lambda w: flip(artifact(w)), "other bytes than stated"),
        (lambda w: artifact(w).unlink(), "missing"),
        (lambda w: add_version(w.folder, 2, RELEASE), "2 versions have the release digest"),
        (lambda w: change(w.folder, "delete from registered_model_aliases"), "now there is none"),
        (lambda w: change(w.folder, "delete from logged_models"), "no artifacts at"),
        (lambda w: change(w.folder, "delete from model_version_tags"), "never released whole"),
        (lambda w: change(w.folder, "delete from model_versions"), "does not exist"),
        (lambda w: (w.folder / "mlflow.db").unlink(), "the registry is gone"),
    ],
)
def test_each_broken_invariant_is_named(
    registered: Workspace, broken: Callable[[Workspace], object], words: str
) -> None:
    broken(registered)
    found = faults(registered, champion_expected=True, known=known(registered))
    assert any(words in fault for fault in found), found


def test_other_bytes_under_a_digest_that_fits_them_are_not_the_undisturbed_release(
    registered: Workspace,
) -> None:
    found = faults(registered, champion_expected=True, known={RELEASE: "b" * 64})
    assert [fault.partition(": ")[2] for fault in found] == [
        "not the bytes of the undisturbed release"
    ]


def test_a_journal_whose_line_was_altered_or_taken_out_is_named(registered: Workspace) -> None:
    journal = Journal(registered.folder / ".mergegate" / "journal" / f"{NAME}.jsonl")
    for number in range(3):
        journal.append({"number": number})
    assert faults(registered, champion_expected=True, known=known(registered)) == []
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + b'{"torn')
    assert faults(registered, champion_expected=True, known=known(registered)) == []
    lines = whole.splitlines(keepends=True)
    for broken in (lines[0] + lines[2], whole.replace(b'"number":1', b'"number":7')):
        journal.path.write_bytes(broken)
        (found,) = faults(registered, champion_expected=True, known=known(registered))
        assert f"{NAME}.jsonl, line 2" in found


def test_before_there_was_a_champion_none_is_asked_for(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, {})
    assert faults(workspace, champion_expected=False, known={}) == []
    assert not has_champion(workspace)
    assert not (tmp_path / "mlflow.db").exists()


def test_what_a_killed_release_left_is_an_orphan(registered: Workspace) -> None:
    change(
        registered.folder,
        *(
            f"insert into logged_models (model_id, artifact_location) values ('{name}', '/{name}/a')"
            for name in ("m-2", "m-4")
        ),
        "update logged_models set lifecycle_stage = 'deleted' where model_id = 'm-4'",
    )
    half = registered.folder / "build" / "first" / "merged.part"
    half.mkdir(parents=True)
    lost = registered.folder / "mlruns" / "1" / "models" / "m-3"
    lost.mkdir()
    left = orphans(registered, registered.folder / "scratch")
    assert left == [str(half), "m-2", str(lost)]


def test_a_flip_changes_one_bit_and_leaves_json_readable(tmp_path: Path) -> None:
    file = tmp_path / "value.json"
    before = json.dumps({"digest": "0123456789abcdef" * 4})
    file.write_text(before)
    flip(file)
    after = file.read_bytes()
    assert sum((a ^ b).bit_count() for a, b in zip(before.encode(), after, strict=True)) == 1
    assert json.loads(after) != json.loads(before)


def test_durations_are_those_between_the_lines_of_the_log_past_midnight() -> None:
    assert durations(LOG, "first") == {
        "sources": 8.0,
        "evaluate-expert": 6.5,
        "register": 3.0,
        "all": 20.0,
    }


def test_moments_depend_on_the_seed_alone_and_go_to_what_was_killed_least() -> None:
    due = {"merge": 4.0, "card": 2.0}

    def drawn(seed: int) -> list[str]:
        moments = Moments(seed)
        found = []
        for _ in range(8):
            moment = moments.draw(due, 60.0, 10)
            moments.killed[moment.target] += 1
            found.append(str(moment))
        return found

    assert drawn(1) == drawn(1) != drawn(2)
    targets = [moment.rpartition(" into ")[2] for moment in drawn(1)]
    assert {name: targets.count(name) for name in targets} == {
        "merge": 3,
        "card": 3,
        "the release": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["merge", "plain"], "merge-plain"),
        (["merge", "first"], "merge"),
        (["evaluate", "expert", "lora0"], "evaluate-expert"),
        (["card", "first"], "card"),
    ],
)
def test_a_process_is_named_as_its_stage_in_dvc_yaml(arguments: list[str], name: str) -> None:
    assert stage_name(arguments) == name
