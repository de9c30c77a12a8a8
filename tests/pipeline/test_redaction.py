"""Secrets stay out of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.params import load_params
from pipeline.redaction import has_password, redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://ada:hunter22@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://a:p@ss@db/m failed", "postgresql+psycopg2://***@db/m failed"),
        ("https:/ada:hunter22@host/x: no such folder", "https:/***@host/x: no such folder"),
        ("http://token@host and http://b:c@d", "http://***@host and http://***@d"),
        ("https://h/x?user=a&password=hunter22&b=1", "https://h/x?user=a&password=***&b=1"),
        ("s3://bucket/key?X=1;token=abc", "s3://bucket/key?X=1;token=***"),
        ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
        ("mail ada@host about http://h/a@b", "mail ada@host about http://h/a@b"),
        ("models:/m@champion, not http:/a:b@h", "models:/m@champion, not http:/***@h"),
    ],
)
def test_what_an_address_keeps_secret_is_left_out(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "variable",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AZURE_STORAGE_CONNECTION_STRING",
    ],
)
def test_the_values_of_secret_variables_are_left_out(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "hunter22")
    assert redacted("it said hunter22.") == "it said ***."


def test_the_password_of_a_uri_in_the_environment_is_left_out_in_either_spelling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:hunter%4022@host")
    assert redacted("hunter%4022 or hunter@22") == "*** or ***"


def test_innocent_variables_hide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "falsely")
    monkeypatch.setenv("SOME_TOKEN_FILE", "/etc/token")
    monkeypatch.setenv("SHORT_TOKEN", "the")
    text = "falsely /etc/token the"
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("uri", "secret"),
    [
        ("http://ada:x@h", True),
        ("http://h?token=x", True),
        ("http://ada@h", False),
        ("sqlite:///mlflow.db", False),
    ],
)
def test_an_address_with_a_password_is_known(uri: str, secret: bool) -> None:
    assert has_password(uri) is secret


def _params(tmp_path: Path, registry: str) -> Path:
    shipped = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(shipped.split("\nregistry:")[0] + "\n" + registry, encoding="utf-8")
    return path


def test_a_password_in_params_yaml_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = _params(tmp_path, "registry: {uri: 'http://ada:hunter22@host'}\n")
    with pytest.raises(InputError, match=r"registry\.uri holds a password.*env:") as caught:
        load_params(path)
    assert "hunter22" not in str(caught.value)


def test_the_registry_s_uri_may_come_from_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _params(tmp_path, "registry: {uri: 'env:MLFLOW_TRACKING_URI'}\n")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:hunter22@host")
    assert load_params(path).registry_uri == "http://ada:hunter22@host"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(InputError, match="that variable is not set"):
        load_params(path)


def test_the_journal_is_a_folder_that_machines_may_share(tmp_path: Path) -> None:
    path = _params(tmp_path, "registry: {journal: /srv/journals}\n")
    assert load_params(path).journal == Path("/srv/journals/harbor-support.jsonl")
    path = _params(tmp_path, "registry: {}\n")
    assert load_params(path).journal == Path(".mergegate/journal/harbor-support.jsonl")
