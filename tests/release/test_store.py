"""The store: whose fault a failure is, and what reaching it leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import EnvironmentFault, InputError
from pipeline.release import rehearse, status
from pipeline.release.store import connect, fitting


@pytest.mark.parametrize("reading", [status, rehearse])
def test_reading_a_registry_that_does_not_exist_fails_and_does_not_make_one(
    tmp_path: Path, reading: object
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(EnvironmentFault, match="The first `mergegate release` makes it"):
        reading(uri, "harbor")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_the_environment_s_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(EnvironmentFault, match=r"http://127\.0\.0\.1:9: the registry failed"):
        status("http://127.0.0.1:9", "harbor")


def test_a_file_that_is_no_database_is_the_environment_s_fault(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(EnvironmentFault, match="the registry failed"):
        status(f"sqlite:///{tmp_path}/mlflow.db", "harbor")


def test_a_database_without_its_driver_says_what_to_install() -> None:
    with (
        pytest.raises(EnvironmentFault, match=r"mysql://\*\*\*@host/x: the driver \w+ is not"),
        connect("mysql://ada:hunter22@host/x") as client,
    ):
        client.search_experiments()


def test_a_uri_that_mlflow_does_not_know_is_the_user_s_fault() -> None:
    with pytest.raises(InputError, match="unsupported URI"):
        status("nonsense://registry", "harbor")


def test_a_name_that_mlflow_does_not_accept_is_the_user_s_fault(uri: str) -> None:
    with pytest.raises(InputError, match="Invalid model name"), connect(uri) as client:
        client.create_registered_model("a/b")


def test_our_own_errors_pass_through_unchanged(uri: str) -> None:
    with pytest.raises(InputError, match=r"^ours$"), connect(uri):
        raise InputError("ours")


def test_the_tracking_uri_of_the_process_is_as_before(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    mlflow.set_tracking_uri(None)
    before = mlflow.get_tracking_uri()
    with connect(uri):
        assert mlflow.get_tracking_uri() == uri
    assert mlflow.get_tracking_uri() == before
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_text_longer_than_a_tag_holds_is_cut_and_says_so() -> None:
    cut = fitting("x" * 200, 100)
    assert len(cut) == 100
    assert cut.endswith("[cut: the whole is in the release's artifacts]")
    assert fitting("x" * 100, 100) == "x" * 100
