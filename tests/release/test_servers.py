"""Registration, the champion and the way back through every store: SQLite, a server, a server over PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from release_family import EXPERTS, PROBE, register_all, register_target
from servers import Server, missing_postgres, mlflow_server, postgres

from flows.doctor import Patient, look
from pipeline.errors import EnvironmentFault
from pipeline.facts import read_json
from pipeline.release import register_unmerged, rollback, status, store
from pipeline.release.changes import head
from pipeline.release.registry import champion, register_merge
from pipeline.sources import folder_digests

Bundle = Callable[..., Path]
NAME = "harbor"


@pytest.fixture(scope="module")
def served_sqlite(
    empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server]]:
    """`mlflow server` with proxied artifacts over SQLite."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db") as served:
        yield served


@pytest.fixture(scope="module")
def served_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Server]]:
    """`mlflow server` with proxied artifacts over PostgreSQL."""
    if why := missing_postgres():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("postgres")
    with postgres(folder) as backend, mlflow_server(folder, backend) as served:
        yield served


@pytest.fixture(
    params=["sqlite", "server", pytest.param("server over PostgreSQL", marks=pytest.mark.slow)]
)
def registry(request: pytest.FixtureRequest, workspace: Path) -> str:
    """The URI of a registry without the model `harbor`."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("uri"))
    fixture = "served_sqlite" if request.param == "server" else "served_postgres"
    return str(request.getfixturevalue(fixture)[0])


def test_a_release_is_registered_served_downloaded_and_rolled_back(
    registry: str, bundle: Bundle, tmp_path: Path
) -> None:
    release, journal = bundle(), tmp_path / "journal.jsonl"
    target = register_target(registry, release)
    registered = register_merge(
        registry,
        NAME,
        Path("shipped"),
        release,
        rollback_version=target,
        expected=None,
        journal=journal,
    )
    assert register_all(registry, release) == registered.version  # twice is as once
    found = champion(registry, NAME)
    assert found
    assert (found.version, found.kind) == (2, "merge")
    assert found.digest == read_json(release / "release.json")["identity"]["quantized"]
    with store.connect(registry) as client:
        source = client.get_model_version_download_uri(NAME, "2")
        folder = Path(
            download_artifacts(source, dst_path=str(tmp_path / "got"), tracking_uri=registry)
        )
    shipped = folder_digests(Path("shipped"))
    assert {name: folder_digests(folder).get(name) for name in shipped} == shipped
    assert (folder / "release" / "release.json").read_bytes() == (
        release / "release.json"
    ).read_bytes()
    assert look(Patient(registry, NAME, journal, None)).exit_code == 0
    assert rollback(registry, NAME, "tone complaints", journal=journal).moved
    last = head(registry, NAME)
    assert last
    assert (last.number, last.version, last.previous, last.kind) == (2, 1, 2, "rollback")
    assert status(registry, NAME)["champion"]["version"] == 1
    assert look(Patient(registry, NAME, journal, None)).to_json()["left"] == []


def register(uri: str, name: str, release: Path, journal: Path | None = None) -> int:
    """Register the unmerged set and the merge under another model's name; the version of the merge."""
    last = head(uri, name)
    target = register_unmerged(
        uri,
        name,
        read_json(release / "release.json")["rollback"],
        base=Path("models/base"),
        experts={expert: Path("models") / expert for expert in EXPERTS},
        probe=PROBE,
    )
    return register_merge(
        uri,
        name,
        Path("shipped"),
        release,
        rollback_version=target,
        expected=last.number if last else None,
        journal=journal,
    ).version


def test_a_server_taken_away_in_the_middle_and_back_ends_with_one_version(
    served_sqlite: tuple[str, Server],
    bundle: Bundle,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri, server = served_sqlite
    release, name = bundle(), "interrupted"
    setting = MlflowClient.set_registered_model_alias

    def taken_away(client: MlflowClient, *arguments: str) -> None:
        server.stop()
        setting(client, *arguments)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", taken_away)
    with pytest.raises(EnvironmentFault, match="the registry failed") as caught:
        register(uri, name, release)
    assert caught.value.exit_code == 6
    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", setting)
    with pytest.raises(EnvironmentFault, match="the registry failed"):
        register(uri, name, release)
    server.start()
    assert register(uri, name, release) == 2
    assert [entry["kind"] for entry in status(uri, name)["history"]] == ["unmerged", "merge"]
    last = head(uri, name)
    assert last
    assert (last.number, last.version) == (1, 2)


SECRETS = {
    "HF_TOKEN": "hf_plantedplanted",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/planted",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
}


def test_no_secret_is_in_what_is_kept_or_said(
    served_sqlite: tuple[str, Server],
    bundle: Bundle,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from flows.app import app
    from flows.cli import guarded

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for key, value in SECRETS.items():
        monkeypatch.setenv(key, value)
    plain, server = served_sqlite
    uri = plain.replace("://", "://ada:hunter%4022@")
    release, journal = bundle(), workspace / "journal.jsonl"
    assert register(uri, "planted", release, journal) == 2
    said = [str(look(Patient(uri, "planted", journal, None)).to_json())]
    rollback(uri, "planted", f"see {uri}/wiki, {SECRETS['HF_TOKEN']}", journal=journal)
    said += [str(status(uri, "planted")), str(head(uri, "planted"))]
    commands = (["status"], ["doctor"], ["ledger"], ["rollback", "--rehearse"])
    monkeypatch.setenv("MERGEGATE_DEBUG", "1")
    for _ in ("up", "down"):
        for command, *options in commands:
            guarded(lambda c=command, o=options: app([c, "planted", "--uri", uri, *o]))  # type: ignore[misc]
        server.stop()
    server.start()
    captured = capsys.readouterr()
    assert "the registry failed" in captured.err
    said += [captured.out, captured.err]
    kept = [path for folder in (workspace, server.folder) for path in folder.rglob("*")]
    secrets = ("hunter%4022", "hunter@22", *SECRETS.values())
    assert [s for s in secrets for text in said if s in text] == []
    contents = {path: path.read_bytes() for path in kept if path.is_file()}
    assert [(p, s) for p, text in contents.items() for s in secrets if s.encode() in text] == []


@pytest.mark.slow
def test_processes_that_promote_at_once_through_a_server_lose_nothing(
    served_sqlite: tuple[str, Server], tmp_path: Path
) -> None:
    import sys

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from benchmarks.promote import contend

    counts = contend(served_sqlite[0], 3, 3, tmp_path, separate=True, name="contended-here")
    assert counts["faults"] == []
    assert counts["changes"] == 9


def test_the_head_is_that_of_the_model_asked_for(registry: str) -> None:
    """Names of models may begin alike, and hold what SQL takes for a pattern."""
    from pipeline.release.changes import move_champion

    with store.connect(registry) as client:
        model = client.create_logged_model(client.create_experiment("like"), "light")
        client.finalize_logged_model(model.model_id, "READY")
        for name in ("a_b", "axb"):
            client.create_registered_model(name)
            client.create_model_version(
                name,
                f"models:/{model.model_id}",
                model_id=model.model_id,
                tags={store.RELEASE_DIGEST: name},
            )
    kept = {"kind": "promotion", "why": "", "journal": None, "expected": None}
    move_champion(registry, "axb", 1, release_digest="axb", **kept)  # type: ignore[arg-type]
    assert head(registry, "a_b") is None
    change = move_champion(registry, "a_b", 1, release_digest="a_b", **kept)  # type: ignore[arg-type]
    assert change.number == 1
