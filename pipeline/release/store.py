"""The MLflow store behind a URI: reaching it, and finding or creating what a release keeps there.

Every step looks for what an earlier, interrupted run left before it makes something, by the tag
`RELEASE_DIGEST`; so a release that is killed between two steps and started again ends with one
version.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import EnvironmentFault, InputError
from pipeline.redaction import redacted
from pipeline.release.reach import check_database

RELEASE_DIGEST = "mergegate.release_digest"
NOTE = "mlflow.note.content"  # the tag that MLflow's pages show as a description

# What MLflow accepts as a tag's value, in characters: of a model version, and of a run.
VERSION_TAG_LIMIT, RUN_TAG_LIMIT = 100_000, 8_000
# The highest number of a version that every store can look for: it is an INTEGER, of 32 bits in PostgreSQL.
MAX_VERSION = 2**31 - 1

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own 7 keep a command with a wrong address busy for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
_SQLITE = re.compile(r"sqlite(\+\w+)?:///(?P<file>[^?]+)(\?.*)?", re.DOTALL)
_CONTENTION = re.compile(r"(?i)IntegrityError|UniqueViolation|is locked|deadlock|serializ")
_USERS_FAULT = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"}


@dataclass(frozen=True)
class Shown:
    """What MLflow's pages show of a logged model and its version: a description, parameters, the run that it is of."""

    description: str
    params: Mapping[str, str]
    run_id: str | None = None


@contextmanager
def connect(uri: str, *, existing: bool = False) -> Iterator[Any]:
    """An `MlflowClient` of the store at `uri`, whose failures are ours.

    `existing`: do not make the SQLite file that MLflow would make. Inside, the process-wide
    tracking URI is `uri` too: the SQLite store looks up the source of a model version there,
    whatever client asks. Raises InputError for what MLflow calls invalid or unknown,
    EnvironmentFault for all else.
    """
    if existing and (file := _sqlite_file(uri)) and not file.is_file():
        raise EnvironmentFault(
            f"{redacted(uri)}: no registry here ({file} does not exist). "
            "The first `mergegate release` makes it; "
            "for another one, name it in registry.uri of params.yaml or with --uri."
        )
    if ":" not in uri and uri != "databricks" and "MLFLOW_ALLOW_FILE_STORE" not in os.environ:
        raise InputError(
            f"{uri}: is no address of a registry. Write sqlite:///mlflow.db, http://HOST:5000 or "
            "postgresql+psycopg2://HOST/DATABASE; folders of files are a store that MLflow has given up."
        )
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    import mlflow
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they report every step of their own
    before = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        check_database(uri)
        mlflow.set_tracking_uri(uri)
        yield _client(uri)
    except MlflowException as error:
        raise _ours(uri, error) from error
    except SQLAlchemyError as error:
        # What the driver said, without the name of its class.
        raise _fault(uri, _first_line(str(getattr(error, "orig", None) or error))) from error
    except ModuleNotFoundError as error:
        if "://" not in uri or uri.startswith(("http", "sqlite")):
            raise
        raise EnvironmentFault(
            f"{redacted(uri)}: the driver {error.name} is not installed. Install it, or name another one in the "
            "address, such as postgresql+psycopg2://; or reach the database through a server of MLflow's."
        ) from error
    finally:
        mlflow.set_tracking_uri(before)


def _client(uri: str) -> Any:
    """The client of the store at `uri`, to which a number that no version can have is one that none has."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    class Client(MlflowClient):
        def get_model_version(self, name: str, version: str) -> Any:
            # A driver would fail, each in words of its own, and a server be asked again and again.
            if beyond(version):
                raise MlflowException(f"{name}: no version {version}", RESOURCE_DOES_NOT_EXIST)
            return super().get_model_version(name, version)

    return Client(tracking_uri=uri, registry_uri=uri)


def find_version(client: Any, name: str, digest: str) -> Any | None:
    """The version of model `name` with this release digest; None where there is none."""
    found = client.search_model_versions(
        f"name = '{name}' and tags.`{RELEASE_DIGEST}` = '{digest}'"
    )
    return min(found, key=lambda version: int(version.version), default=None)


def pages(search: Callable[..., Any], *arguments: Any) -> Iterator[Any]:
    """Every result of one of the client's searches, page by page."""
    token = None
    while True:
        page = search(*arguments, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def set_version_tag(uri: str, name: str, version: str, key: str, value: str) -> None:
    """Set one tag of a version in the registry at `uri`."""
    with connect(uri, existing=True) as client:
        client.set_model_version_tag(name, version, key, value)


def beyond(version: str) -> bool:
    """Whether a text is a number above MAX_VERSION, however long: so no version has it."""
    digits = version.lstrip("0")
    if not (digits.isascii() and digits.isdigit()):
        return False
    return len(digits) > len(str(MAX_VERSION)) or int(digits) > MAX_VERSION


def contended(error: Any) -> bool:
    """Whether MLflow failed because another process wrote the same at the same time: trying again helps.

    MLflow looks whether a tag or an alias is there, and then adds it, in two steps.
    """
    return bool(_CONTENTION.search(str(error)))


def same(one: str, other: str) -> bool:
    """Whether two URIs are of the same registry: equal, or of the same SQLite file, as seen from this folder."""
    files = _sqlite_file(one), _sqlite_file(other)
    if files[0] is None or files[1] is None:
        return one.rstrip("/") == other.rstrip("/")
    return files[0].resolve() == files[1].resolve()


def lies_in(uri: str, folder: Path) -> bool:
    """Whether the registry at `uri` is a SQLite file below `folder`."""
    file = _sqlite_file(uri)
    return file is not None and file.resolve().is_relative_to(folder.resolve())


def digest_of_version(client: Any, name: str, version: int) -> str | None:
    """The release digest of a version; "" where it has none, None where there is no such version."""
    from mlflow.exceptions import MlflowException

    try:
        tags = client.get_model_version(name, str(version)).tags
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return str(tags.get(RELEASE_DIGEST, ""))


def ensure_version(
    client: Any,
    name: str,
    digest: str,
    kind: str,
    tags: Mapping[str, str],
    upload: Callable[[str], None],
    *,
    shown: Shown,
) -> Any:
    """The version of model `name` with this release digest, made with its tags if there is none.

    `upload` is given the id of a logged model and puts its artifacts there; it may run again over
    what an interrupted run left. `shown`: what MLflow's pages show of logged model and version.
    """
    if found := find_version(client, name, digest):
        return found
    model_id = _ensure_logged_model(client, name, digest, kind, upload, shown)
    _ensure_registered_model(client, name)
    return client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id=shown.run_id,
        description=shown.description,
        model_id=model_id,
        tags={
            **{key: fitting(value, VERSION_TAG_LIMIT) for key, value in tags.items()},
            RELEASE_DIGEST: digest,
            "mergegate.kind": kind,
            "mergegate.model_id": model_id,  # the version's own field for it stays empty
        },
    )


def ensure_experiment(client: Any, name: str) -> str:
    """The id of the experiment that holds the logged models and the refusals of model `name`."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found else client.create_experiment(name))


def fitting(text: str, limit: int) -> str:
    """`text` without secrets, cut to what a tag holds; the whole is among the artifacts."""
    text = redacted(text)
    note = "\n[cut: the whole is in the release's artifacts]"
    return text if len(text) <= limit else text[: limit - len(note)] + note


def _ensure_logged_model(
    client: Any,
    name: str,
    digest: str,
    kind: str,
    upload: Callable[[str], None],
    shown: Shown,
) -> str:
    """The id of a READY logged model with the artifacts; an interrupted one is filled again."""
    experiment = ensure_experiment(client, name)
    found = client.search_logged_models([experiment], f"tags.`{RELEASE_DIGEST}` = '{digest}'")
    model = min(found, key=lambda m: (str(m.status) != "READY", m.creation_timestamp), default=None)
    if model is None:
        tags = {RELEASE_DIGEST: digest, NOTE: shown.description}
        model = client.create_logged_model(
            experiment, kind, source_run_id=shown.run_id, tags=tags, params=dict(shown.params)
        )
    if str(model.status) != "READY":
        upload(model.model_id)
        client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _ensure_registered_model(client: Any, name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


# What SQLite says, and what to do about it.
_WAYS_OUT = {
    "database or disk is full": "Free space",
    "database is locked": "Another process holds it: let it end",
}


def _sqlite_file(uri: str) -> Path | None:
    found = _SQLITE.fullmatch(uri)
    return Path(found["file"]) if found else None


def _ours(uri: str, error: Any) -> InputError | EnvironmentFault:
    if error.error_code in _USERS_FAULT:
        return InputError(redacted(f"{uri}: MLflow refused: {error.message.strip()}"))
    return _fault(uri, _first_line(error.message))


def _fault(uri: str, message: str) -> EnvironmentFault:
    file = _sqlite_file(uri)
    check = f"that {file} is a database of MLflow's" if file else "that the server answers"
    known = (way for words, way in _WAYS_OUT.items() if words in message)
    way_out = next(known, f"Check registry.uri in params.yaml and {check}")
    return EnvironmentFault(
        redacted(f"{uri}: the registry failed: {message}. ")
        + f"{way_out}, then run the command again: it goes on where it was."
    )


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "it gave no reason")
