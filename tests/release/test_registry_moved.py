"""An alias that was moved by hand is told by whoever serves it; and when two URIs are of one registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from release_family import register_all

from pipeline.release import store

Bundle = Callable[..., Path]


@pytest.fixture
def serve(
    uri: str, bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """`mergegate serve` of version 3, the champion; its standard output and standard error."""
    from flows.app import app
    from flows.cli import guarded

    register_all(uri, bundle())
    register_all(uri, bundle(seed=8))

    def run(*arguments: str) -> tuple[str, str]:
        capsys.readouterr()
        assert guarded(lambda: app(["serve", "harbor", "--uri", uri, *arguments])) == 0
        found = capsys.readouterr()
        return found.out, found.err

    return run


def test_serving_a_champion_that_was_moved_by_hand_warns_on_standard_error(
    uri: str, serve: Callable[..., tuple[str, str]]
) -> None:
    assert "warning" not in serve()[1]
    with store.connect(uri) as client:
        client.set_registered_model_alias("harbor", "champion", "2")
    out, err = serve()
    assert out.startswith("vllm serve ")
    assert "warning" not in out
    assert "# warning: the alias champion is at version 2, and change 2," in err
    assert "made version 3 champion: somebody moved the alias in MLflow" in err
    assert len(json.loads(serve("--json")[0])["warnings"]) == 1


def test_a_version_that_was_named_is_served_without_a_warning_of_the_champion(
    uri: str, serve: Callable[..., tuple[str, str]]
) -> None:
    with store.connect(uri) as client:
        client.set_registered_model_alias("harbor", "champion", "2")
    assert "warning" not in serve("--version", "3")[1]


@pytest.mark.parametrize(
    ("other", "one"),
    [
        ("sqlite:///mlflow.db", True),
        ("sqlite:///./mlflow.db", True),
        ("sqlite+pysqlite:///mlflow.db?timeout=5", True),
        ("sqlite:///link.db", True),
        ("sqlite:///other.db", False),
        ("http://localhost:5000", False),
    ],
)
def test_two_uris_of_one_file_are_of_one_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, one: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mlflow.db", "other.db"):
        (tmp_path / name).touch()
    (tmp_path / "link.db").symlink_to("mlflow.db")
    assert store.same(f"sqlite:///{tmp_path}/mlflow.db", other) is one


def test_servers_are_one_registry_by_their_address() -> None:
    assert store.same("http://localhost:5000", "http://localhost:5000/")
    assert not store.same("http://localhost:5000", "http://localhost:5001")
    assert not store.lies_in("http://localhost:5000", Path())
