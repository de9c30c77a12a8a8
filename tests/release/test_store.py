"""The store: whose fault a failure is, and what reaching it leaves behind."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from flows.verify import verify_version
from pipeline.errors import EnvironmentFault, InputError
from pipeline.release import reach, rehearse, status
from pipeline.release.store import beyond, connect, digest_of_version, fitting


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


def test_what_is_no_address_is_told_with_some_that_are() -> None:
    with pytest.raises(InputError, match=r"mlruns: is no address of a registry\. Write sqlite:///"):
        status("mlruns", "harbor")


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


def test_a_database_that_refuses_ends_at_once_and_names_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as bound:  # and not listening, so that nobody else answers on its port
        bound.bind(("127.0.0.1", 0))
        uri = f"postgresql+psycopg2://ada:hunter22@127.0.0.1:{bound.getsockname()[1]}/x"
        start = time.monotonic()
        with pytest.raises(EnvironmentFault, match="Connection refused") as refused:
            status(uri, "harbor")
    assert time.monotonic() - start < 10
    assert "hunter22" not in str(refused.value) + caplog.text
    assert caplog.text == ""  # MLflow tells each of its tries


def test_a_database_that_accepts_and_says_nothing_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "PATIENCE_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"postgresql+psycopg2://ada:hunter22@127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(EnvironmentFault, match=r"://\*\*\*@.* did not answer within 0\.3 sec"):
            status(uri, "harbor")


@pytest.mark.parametrize(
    ("text", "is_beyond"),
    [("2147483647", False), ("2147483648", True), ("0002147483647", False), ("9" * 5_000, True)],
    ids=["the highest", "one more", "with zeros", "very long"],
)
def test_a_version_s_number_has_32_bits(text: str, is_beyond: bool) -> None:
    assert beyond(text) is is_beyond


@pytest.mark.parametrize("text", ["", "0", "-3", "previous", "²", "9" * 20 + "x"])
def test_what_is_no_number_is_not_beyond_the_highest_one(text: str) -> None:
    assert not beyond(text)


def test_a_version_beyond_the_highest_is_not_there(uri: str) -> None:
    with connect(uri) as client:
        client.create_registered_model("harbor")
        assert digest_of_version(client, "harbor", 10**20) is None
    with pytest.raises(
        InputError, match=r"harbor has no version 9{20}\. `mergegate status harbor`"
    ):
        verify_version(uri, f"models:/harbor/{'9' * 20}")


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
