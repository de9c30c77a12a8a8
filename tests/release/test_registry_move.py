"""A registry moved to another store: all of it arrives under its number, and nothing else is written over."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, LoggedModelOutput, Metric
from release_family import change_shipped_weights, register_shipped, register_target, verdict
from servers import missing_postgres, mlflow_server, postgres

from flows.doctor import Patient, look
from flows.verify import verify_version
from pipeline.errors import CorruptArtifactError, EnvironmentFault, InputError
from pipeline.release import changes, ledger, log_refusal, rollback, status, store
from pipeline.release.changes import head, move_champion, settle
from pipeline.release.journal import Journal
from pipeline.release.ledger import Judgement, read_ledger
from pipeline.release.move.snapshot import read_snapshot
from pipeline.release.move.steps import Moved, move
from pipeline.release.moved import MOVED_TO, UNFINISHED, marks
from pipeline.release.registry import register_merge
from pipeline.release.standing import changes as known_changes

Bundle = Callable[..., Path]
NAME = "harbor"


@dataclass(frozen=True)
class Old:
    """A registry to move from, and the journal of its workspace."""

    uri: str
    journal: Path
    run: str  # of a promoted release, as teams log them

    def move(self, target: str, **changed: Any) -> Moved:
        kept = {"journal": self.journal, "progress": lambda *_: None} | changed
        return move(self.uri, target, NAME, **kept)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """What the first test builds, for all others: the artifacts stay where it built them, and are only read."""
    return {}


@pytest.fixture
def old(
    uri: str,
    bundle: Bundle,
    workspace: Path,
    built: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Old:
    """Four promotions of which one was deleted, the last rolled back, a refusal, judgements, a run and more aliases."""
    monkeypatch.setattr(changes, "_PAUSE_S", 0.01)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    journal = workspace / ".mergegate" / "journal" / "harbor.jsonl"
    if not built:
        kept = tmp_path_factory.mktemp("built")
        built["run"] = _build(uri, bundle, journal)
        built["db"] = shutil.copy(workspace / "mlflow.db", kept / "mlflow.db")
        built["journal"] = shutil.copy(journal, kept / "harbor.jsonl")
    shutil.copy(built["db"], workspace / "mlflow.db")
    journal.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(built["journal"], journal)
    text = Path(__file__).parents[2].joinpath("params.yaml").read_text(encoding="utf-8")
    text = text.replace("name: harbor-support ", "name: harbor ")
    # Absolute, since MLflow keeps what it opened under a relative one for the whole process.
    text = text.replace("uri: sqlite:///mlflow.db", f"uri: {uri}")
    (workspace / "params.yaml").write_text(text, encoding="utf-8")
    return Old(uri, journal, built["run"])


def _build(uri: str, bundle: Bundle, journal: Path) -> str:
    target = register_target(uri, bundle())

    def promote(**changed: Any) -> int:
        last = head(uri, NAME)
        return register_merge(
            uri,
            NAME,
            Path("shipped"),
            bundle(**changed),
            rollback_version=target,
            expected=last.number if last else None,
            journal=journal,
        ).version

    promote()
    gone = promote(seed=8)
    promote(seed=9)
    last = promote(seed=11)
    log_refusal(uri, NAME, bundle(verdict=verdict("reject"), quantized_files=None, seed=10))
    rollback(uri, NAME, "the pager", to="4", journal=journal)
    with store.connect(uri) as client:
        run = _promoted_run(client)
        client.update_model_version(NAME, "4", f"see run {run}")
        client.set_model_version_tag(NAME, "4", "team.run", run)
        client.update_registered_model(NAME, "The support model.")
        client.set_registered_model_alias(NAME, "stable", "2")
        for number in (gone, last):
            model = client.get_model_version(NAME, str(number)).tags["mergegate.model_id"]
            client.delete_model_version(NAME, str(number))
            client.delete_logged_model(model)
    # Two of one millisecond: their order is that of their ids, which a store draws.
    for candidate, outcome, when in (("b", "reject", 7), ("a", "promote", 5), ("c", "promote", 7)):
        ledger.append(uri, NAME, _judgement(candidate, outcome, when))
    with store.connect(uri) as client:
        place = client.get_experiment_by_name(f"{NAME} ledger").experiment_id
        client.delete_run(client.search_runs([place])[0].info.run_id)
    return run


def _promoted_run(client: Any) -> str:
    """A run with all that MLflow keeps of one, deleted; its model's metric too."""
    place = client.get_experiment_by_name(NAME).experiment_id
    run = client.create_run(place, start_time=3, run_name="promoted").info.run_id
    model = client.get_model_version(NAME, "4").tags["mergegate.model_id"]
    steps = [Metric("exact", float("nan"), 5, 1), Metric("exact", 0.1, 6, 2)]
    client.log_batch(run, [*steps, Metric("p95", 1 / 3, 7, 0, model_id=model)])
    client.log_param(run, "recipe", "ties")
    client.log_inputs(run, datasets=[DatasetInput(Dataset("json", "d1", "local", "x.jsonl"), [])])
    client.log_outputs(run, [LoggedModelOutput(model, 4)])
    client.log_text(run, "evidence", "notes/why.txt")
    client.set_tag(run, "made", f"models:/{model}")
    client.set_terminated(run, "FAILED", 9)
    client.delete_run(run)
    return str(run)


def _judgement(candidate: str, outcome: str, when: int) -> Judgement:
    golden = {"json": "d" * 64}
    return Judgement(candidate, outcome, {"merged": candidate * 64}, golden, "r", "p", "p", when)


@pytest.fixture
def new(empty_store: Path, workspace: Path) -> str:
    """An empty registry in a SQLite file."""
    shutil.copy(empty_store, workspace / "new.db")
    return f"sqlite:///{workspace}/new.db"


@pytest.fixture(scope="module")
def served_sqlite(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as (uri, _):
        yield uri


@pytest.fixture(scope="module")
def served_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if why := missing_postgres():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("postgres")
    with postgres(folder) as backend, mlflow_server(folder, backend) as (uri, _):
        yield uri


def command(*arguments: str) -> int:
    from flows.app import app
    from flows.cli import guarded

    return guarded(lambda: app(list(arguments)))


def answers(uri: str) -> dict[str, Any]:
    """What people read of a registry, without ids of runs."""
    found = status(uri, NAME)
    for refusal in found["refusals"]:
        del refusal["run_id"]
    found["target_look"] = found["target_look"] and found["target_look"]["faults"]
    with store.connect(uri) as client:
        claims = known_changes(client, NAME)
    del found["moved_to"]
    return {**found, "claims": claims, "ledger": read_ledger(uri, NAME)}


@pytest.mark.parametrize(
    "server", ["served_sqlite", pytest.param("served_postgres", marks=pytest.mark.slow)]
)
def test_a_registry_goes_on_at_a_server_as_if_it_had_always_been_there(
    old: Old,
    new: str,
    bundle: Bundle,
    server: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri = request.getfixturevalue(server)
    before, entries = answers(old.uri), Journal(old.journal).entries()
    assert command("registry", "move", "--to", uri, "--edit", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["champion"], report["versions"], report["left_out"]) == (4, 3, [3])
    assert (report["changes"], report["judgements"], report["refusals"]) == (5, 3, 1)
    assert report["edited"]
    assert answers(uri) == before
    assert Journal(old.journal).entries() == entries
    assert command("status") == 0
    assert command("doctor") == 0
    assert capsys.readouterr().out.endswith("harbor: healthy.\n")
    moved = verify_version(uri, f"models:/{NAME}@champion")
    kept = verify_version(old.uri, f"models:/{NAME}@champion")
    assert (moved.checked, moved.faults) == (kept.checked, kept.faults)
    assert rollback(uri, NAME, "once more", journal=old.journal).target == 1
    change_shipped_weights()
    release = bundle(seed=12)
    assert register_shipped(uri, release, 1).version == 6  # version 5 was deleted, and is named
    settle(uri, NAME, old.journal)
    assert [e["number"] for e in Journal(old.journal).entries()] == [1, 2, 3, 4, 5, 6, 7]
    assert look(Patient(uri, NAME, old.journal, None)).to_json()["left"] == []
    if server == "served_sqlite":  # and from a server to another store
        move(uri, new, NAME, journal=old.journal, progress=lambda *_: None)
        assert answers(new) == answers(uri)


def test_runs_arrive_with_all_that_they_hold_and_are_found_by_their_old_ids(
    old: Old, new: str
) -> None:
    old.move(new)
    with store.connect(old.uri) as client:
        before = read_snapshot(client, NAME)
    with store.connect(new) as client:
        after = read_snapshot(client, NAME)
        version = client.get_model_version(NAME, "4")
    (run,) = (run for run in after.runs if run.name == "promoted")
    (was,) = (run for run in before.runs if run.name == "promoted")
    same = ("experiment", "start", "end", "status", "deleted", "params", "metrics", "datasets")
    assert {key: getattr(run, key) for key in same} == {key: getattr(was, key) for key in same}
    assert run.tags["mergegate.moved_id"] == was.id == old.run
    assert version.description == f"see run {run.id}"
    assert version.tags["team.run"] == run.id
    score = ("p95", repr(1 / 3), 7, 0, run.id)
    (model,) = (one for one in after.logged if score in one.metrics)
    assert run.tags["made"] == f"models:/{model.id}"
    assert run.outputs == {(model.id, 4)}
    assert version.tags["mergegate.model_id"] in {one.id for one in after.logged}
    assert Path(run.place.removeprefix("file://"), "notes/why.txt").read_text() == "evidence"
    assert after.model
    assert before.model
    assert after.model.aliases == before.model.aliases == {"champion": 4, "stable": 2}
    assert after.model.description == "The support model."
    assert [run.files for run in after.runs if run.files] == [
        r.files for r in before.runs if r.files
    ]


def test_a_second_move_changes_nothing_in_either_registry(
    old: Old, new: str, workspace: Path
) -> None:
    assert not old.move(new).already
    before = [(workspace / name).read_bytes() for name in ("mlflow.db", "new.db")]
    second = old.move(new)
    assert second.already
    assert [(workspace / name).read_bytes() for name in ("mlflow.db", "new.db")] == before
    assert old.move(new, journal=None) == second


WRITES = [
    *("create_experiment", "create_registered_model", "set_registered_model_tag", "create_run"),
    *("create_logged_model", "log_model_artifacts", "finalize_logged_model"),
    *("create_model_version", "delete_model_version", "log_batch", "log_inputs", "log_artifacts"),
    *("set_terminated", "delete_run", "delete_experiment"),
    *("set_registered_model_alias", "set_registered_model_alias"),  # "stable", then "champion"
    *("delete_experiment_tag", "delete_registered_model_tag"),
]


def test_a_move_killed_after_any_step_goes_on_where_it_was(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers(old.uri)
    died = set()
    for step in WRITES:
        with monkeypatch.context() as patch:
            kill(patch, step)
            try:
                old.move(new)
            except KeyboardInterrupt:
                died.add(step)
        with store.connect(new) as client:
            found = client.search_registered_models(f"name = '{NAME}'")
            whole = UNFINISHED not in marks(client, NAME)
        if found and "champion" in found[0].aliases:
            assert answers(new) == before  # it is set when all else is there
        if not whole:
            with pytest.raises(InputError, match="unfinished copy of sqlite"):
                settle(new, NAME)
            with pytest.raises(InputError, match="Finish that move first"):
                move(new, old.uri, NAME, journal=None, progress=lambda *_: None)
    assert died == set(WRITES)
    old.move(new)
    assert answers(new) == before
    with store.connect(old.uri) as client:
        was = read_snapshot(client, NAME)
    with store.connect(new) as client:
        found = read_snapshot(client, NAME)
    for kind in ("runs", "logged", "versions", "experiments"):  # nothing twice
        assert len(getattr(found, kind)) == len(getattr(was, kind))
    assert look(Patient(new, NAME, old.journal, None)).to_json()["left"] == []


def kill(patch: pytest.MonkeyPatch, step: str) -> None:
    original = getattr(MlflowClient, step)

    def dying(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        raise KeyboardInterrupt

    patch.setattr(MlflowClient, step, dying)


def test_an_upload_that_was_cut_off_is_made_again(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(client: Any, model_id: str, folder: str, *_: Any) -> None:
        first = min(path for path in Path(folder).iterdir() if path.is_file())
        client.log_model_artifact(model_id, str(first))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", cut)
        with pytest.raises(KeyboardInterrupt):
            old.move(new)
    old.move(new)
    assert answers(new) == answers(old.uri)


def test_bytes_that_change_on_the_way_are_no_copy(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upload = MlflowClient.log_model_artifacts

    def altering(client: Any, model_id: str, folder: str, *_: Any) -> None:
        altered = shutil.copytree(folder, tmp_path / model_id)
        file = altered / "README.md"
        file.write_bytes(file.read_bytes()[:-1] + b"!")
        upload(client, model_id, str(altered))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", altering)
        with pytest.raises(CorruptArtifactError, match=r"harbor version 1: .*arrive.*README\.md"):
            old.move(new)
    with store.connect(new) as client:
        assert client.search_model_versions(f"name = '{NAME}'") == []
    old.move(new)
    assert answers(new) == answers(old.uri)


def test_a_process_killed_in_the_middle_is_run_again(old: Old, new: str, workspace: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    del environment["MERGEGATE_QUIET"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "registry", "move", "--to", new],
        cwd=workspace,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    said = next(line for line in process.stderr if line.startswith("harbor version"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert said.startswith("harbor version 1: 8 files")
    with store.connect(new) as client:
        assert client.get_registered_model(NAME).aliases == {}
    assert not old.move(new).already
    assert answers(new) == answers(old.uri)


def test_the_old_registry_is_only_read_until_the_copy_is_verified(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MlflowClient.set_registered_model_alias
    content = Path(old.uri.removeprefix("sqlite:///")).read_bytes

    def last(client: Any, name: str, alias: str, version: str) -> None:
        original(client, name, alias, version)
        seen.append(content())

    seen: list[bytes] = []
    before = content()
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", last)
    old.move(new)
    assert seen
    assert set(seen) == {before}
    assert content() != before


def test_what_was_moved_is_neither_released_nor_judged_nor_rolled_back_where_it_was(
    old: Old, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old.move(new)
    for change in (
        lambda: settle(old.uri, NAME),
        lambda: rollback(old.uri, NAME, "why"),
        lambda: changes.adopt(old.uri, NAME, "why", None),
        lambda: ledger.append(old.uri, NAME, _judgement("e", "promote", 9)),
        lambda: move_champion(
            old.uri,
            NAME,
            1,
            expected=5,
            kind="promotion",
            why="",
            release_digest="x",
            journal=None,
        ),
    ):
        with pytest.raises(InputError, match=r"was moved to another registry, sqlite:.*new\.db"):
            change()
    assert command("rollback", "--why", "x") == 2
    capsys.readouterr()
    for arguments in (["status"], ["status", "--at", datetime.now(UTC).isoformat()]):
        assert command(*arguments) == 0
        first, second, *_ = capsys.readouterr().out.splitlines()
        assert first == "The model was moved to another registry."
        assert "It goes on in sqlite:" in second
    with store.connect(old.uri) as client:
        client.delete_registered_model_tag(NAME, MOVED_TO)
    assert rollback(old.uri, NAME, "back").moved


def test_a_change_that_comes_while_it_is_copied_is_copied_too(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MlflowClient.set_registered_model_alias

    def late(client: Any, name: str, alias: str, version: str) -> None:
        original(client, name, alias, version)
        if alias == "champion":
            monkeypatch.setattr(MlflowClient, "set_registered_model_alias", original)
            rollback(old.uri, NAME, "of another machine")

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", late)
    old.move(new)
    assert answers(new) == answers(old.uri)
    assert status(new, NAME)["champion"]["version"] == 1


def test_a_registry_that_is_changed_all_the_time_is_not_called_moved(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, moments = MlflowClient.set_registered_model_alias, iter(range(100, 200))

    def busy(client: Any, name: str, alias: str, version: str) -> None:
        original(client, name, alias, version)
        if alias == "champion":
            ledger.append(old.uri, NAME, _judgement("e", str(next(moments)), 9))

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_registered_model_alias", busy)
        with pytest.raises(EnvironmentFault, match="changed again and again"):
            old.move(new)
    with store.connect(old.uri) as client:
        assert MOVED_TO not in marks(client, NAME)
    old.move(new)
    assert answers(new) == answers(old.uri)


@pytest.mark.parametrize("what", ["a model", "its experiment", "a deleted ledger", "a claim"])
def test_a_registry_that_has_anything_of_that_name_is_not_written_to(
    old: Old, new: str, workspace: Path, what: str
) -> None:
    with store.connect(new) as client:
        if what == "a model":
            client.create_registered_model(NAME)
        elif what == "its experiment":
            client.create_experiment(NAME)
        elif what == "a claim":
            client.create_experiment(f"{NAME} champion 1")
        else:
            client.delete_experiment(client.create_experiment(f"{NAME} ledger"))
    before = (workspace / "new.db").read_bytes()
    with pytest.raises(InputError, match="Nothing was written") as refused:
        old.move(new)
    assert refused.value.exit_code == 2
    assert (workspace / "new.db").read_bytes() == before


def test_a_copy_that_was_used_since_is_not_written_to(old: Old, new: str) -> None:
    old.move(new)
    rollback(new, NAME, "used")
    with store.connect(old.uri) as client:
        client.delete_registered_model_tag(NAME, MOVED_TO)
    with pytest.raises(InputError, match="was used since: harbor champion 6"):
        old.move(new)
    assert status(new, NAME)["champion"]["version"] == 1


def test_what_was_moved_already_is_not_moved_to_a_third_registry(
    old: Old, new: str, workspace: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, workspace / "third.db")
    shutil.copy(empty_store, workspace / "half.db")
    with monkeypatch.context() as patch:
        kill(patch, "log_model_artifacts")
        with pytest.raises(KeyboardInterrupt):
            old.move(f"sqlite:///{workspace}/half.db")
    old.move(new)
    for other in ("third.db", "half.db"):
        with pytest.raises(InputError, match=r"was moved to sqlite:.*new\.db already"):
            old.move(f"sqlite:///{workspace}/{other}")
    third = move(
        new,
        f"sqlite:///{workspace}/third.db",
        NAME,
        journal=old.journal,
        progress=lambda *_: None,
    )
    assert third.versions == 3
    assert answers(third.target) == answers(old.uri)


@pytest.mark.parametrize("other", ["sqlite:///mlflow.db", "sqlite:///./mlflow.db"])
def test_a_registry_is_not_moved_onto_itself(old: Old, other: str) -> None:
    with pytest.raises(InputError, match="is the registry that harbor is in already"):
        old.move(other)


def test_an_unfinished_change_or_an_alias_moved_by_hand_is_seen_to_first(
    old: Old, new: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (workspace / "new.db").read_bytes()
    with store.connect(old.uri) as client:
        client.set_registered_model_alias(NAME, "champion", "2")
    with pytest.raises(InputError, match="mergegate doctor harbor"):
        old.move(new)
    changes.restore(old.uri, NAME)
    with monkeypatch.context() as patch:
        kill(patch, "create_experiment")
        with pytest.raises(KeyboardInterrupt):
            rollback(old.uri, NAME, "half")
    with pytest.raises(InputError, match=r"change 6 .* not finished"):
        old.move(new)
    assert (workspace / "new.db").read_bytes() == before


def test_a_version_that_is_not_as_registered_is_named(old: Old, new: str) -> None:
    with store.connect(old.uri) as client:
        place = Path(client.get_model_version_download_uri(NAME, "2").removeprefix("file://"))
    file = place / "config.json"
    content = file.read_bytes()
    file.write_bytes(content + b" ")
    try:
        with pytest.raises(CorruptArtifactError, match=r"harbor version 2: .*config\.json changed"):
            old.move(new)
    finally:
        file.write_bytes(content)
    old.move(new)


def test_processes_that_change_the_champion_wait_until_the_move_is_done(
    old: Old, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.release.journal_file.PATIENCE_S", 0.0)
    with (
        Journal(old.journal).locked(),
        pytest.raises(EnvironmentFault, match="another process has been changing the champion"),
    ):
        old.move(new)

    def change(*_: Any) -> None:
        with pytest.raises(EnvironmentFault, match="another process has been changing"):
            settle(old.uri, NAME, old.journal)

    old.move(new, progress=change)


def test_a_model_of_which_every_candidate_was_refused_is_moved_with_its_ledger(
    uri: str, new: str, bundle: Bundle
) -> None:
    log_refusal(uri, NAME, bundle(verdict=verdict("reject"), quantized_files=None))
    ledger.append(uri, NAME, _judgement("a", "reject", 5))
    moved = move(uri, new, NAME, journal=None, progress=lambda *_: None)
    assert (moved.champion, moved.versions, moved.refusals, moved.judgements) == (None, 0, 1, 1)
    assert read_ledger(new, NAME) == read_ledger(uri, NAME)
    with pytest.raises(InputError, match="was moved to another registry"):
        ledger.append(uri, NAME, _judgement("b", "reject", 6))
    assert ledger.append(new, NAME, _judgement("b", "reject", 6))
    assert move(uri, new, NAME, journal=None, progress=lambda *_: None).already


def test_a_version_that_a_person_registered_is_moved_with_its_bytes(
    old: Old, new: str, tmp_path: Path
) -> None:
    (tmp_path / "by hand").mkdir()
    (tmp_path / "by hand" / "weights.bin").write_bytes(b"\0\1")
    with store.connect(old.uri) as client:
        client.create_model_version(NAME, f"file://{tmp_path}/by hand", description="by hand")
    old.move(new)
    with store.connect(new) as client:
        found = client.get_model_version(NAME, "6")
        place = client.get_model_version_download_uri(NAME, "6")
    assert found.description == "by hand"
    assert Path(place.removeprefix("file://"), "weights.bin").read_bytes() == b"\0\1"


def test_a_server_that_keeps_artifacts_in_a_folder_that_is_not_here_is_refused(
    old: Old, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(
        tmp_path / "elsewhere"
    )  # a new store keeps its artifacts below the current folder
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "tracking_uri", property(lambda _: "http://h:5000"))
        with pytest.raises(InputError, match=r"http://h:5000: keeps artifacts in .*--serve-art"):
            old.move(new)
    (tmp_path / "elsewhere" / "mlruns").mkdir()
    assert not old.move(new).already


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        (
            "# a\nregistry: # b\n  journal: j  # c\n  uri: sqlite:///mlflow.db  # d\nz: 1\n",
            "# a\nregistry: # b\n  journal: j  # c\n  uri: http://h:5000  # d\nz: 1\n",
        ),
        ("registry: {uri: 'a', journal: j}\n", "registry: {uri: http://h:5000, journal: j}\n"),
        (
            "name: x\r\nregistry:\r\n  uri: a\r\n",
            "name: x\r\nregistry:\r\n  uri: http://h:5000\r\n",
        ),
        ("name: x", "name: x\n\nregistry:\n  uri: http://h:5000\n"),
    ],
    ids=["comments", "flow", "carriage returns", "no registry"],
)
def test_one_line_of_params_is_edited_and_everything_else_stays(
    tmp_path: Path, block: str, wanted: str
) -> None:
    from flows.registry_line import write_uri

    path = tmp_path / "params.yaml"
    path.write_bytes(block.encode())
    path.chmod(0o640)
    assert write_uri("http://h:5000", path)
    assert path.read_bytes().decode() == wanted
    assert path.stat().st_mode & 0o777 == 0o640
    assert not write_uri("http://h:5000", path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("block", "uri", "why"),
    [
        ("registry: {journal: j}\n", "http://h:5000", "has no line registry.uri"),
        ("x: &u a\nregistry: {uri: *u}\ny: *u\n", "http://h:5000", "Write it by hand"),
        ("registry: {uri: a}\n", "http://ada:hunter22@h", r"http://\*\*\*@h holds a password"),
    ],
)
def test_params_that_cannot_be_edited_are_refused_before_anything_is_copied(
    tmp_path: Path, block: str, uri: str, why: str
) -> None:
    from flows.registry_line import check_writable_uri

    path = tmp_path / "params.yaml"
    path.write_text(block)
    with pytest.raises(InputError, match=why):
        check_writable_uri(uri, path)
    assert path.read_text() == block


def test_the_command_takes_the_new_registry_from_a_variable_and_says_what_to_do(
    old: Old, new: str, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert command("registry", "move", "--to", "env:NEW_REGISTRY") == 2
    assert "--to is env:NEW_REGISTRY, and that variable is not set" in capsys.readouterr().err
    monkeypatch.setenv("NEW_REGISTRY", new)
    monkeypatch.delenv("MERGEGATE_QUIET")
    assert command("registry", "move", "--to", "env:NEW_REGISTRY") == 0
    said = capsys.readouterr()
    assert (
        "Put this line under `registry:` in params.yaml (--edit does): uri: env:NEW_REGISTRY"
        in said.out
    )
    assert "mergegate rollback harbor --rehearse" in said.out
    assert [line for line in said.err.splitlines() if line.startswith("harbor version")] == [
        f"harbor version {number}: {files} files, {size} MB, copied and verified"
        for number, files, size in ((1, 8, "0.0"), (2, 16, "0.2"), (4, 16, "0.2"))
    ]
    assert command("registry", "move", "--to", "env:NEW_REGISTRY", "--edit") == 0
    assert "moved already, nothing was changed" in capsys.readouterr().out
    assert yaml.safe_load((workspace / "params.yaml").read_text())["registry"] == {
        "uri": "env:NEW_REGISTRY"
    }
    assert command("doctor") == 0
    assert command("registry", "move", "--to", "env:NEW_REGISTRY", "--edit") == 2
