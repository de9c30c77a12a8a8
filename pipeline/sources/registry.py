"""Models of an MLflow registry: a version's artifacts, copied once into a cache."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from pipeline.errors import EnvironmentFault, InputError
from pipeline.facts import digest_of
from pipeline.private import private_folder
from pipeline.redaction import redacted

SCHEME = "models:/"
_LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")  # longer ones are more than a database's INTEGER holds
# Where a version keeps the model, beside whatever else was logged with it.
_PLACES = ("", "model", "components/model")


def fetch(uri: str, cache: Path, registry: str | None = None) -> tuple[Path, str]:
    """The folder of the model `uri`, and its version (an alias is resolved to its version).

    `registry` is an MLflow tracking URI; None stands for what MLflow is configured with. Raises
    InputError for an unknown model, EnvironmentFault where the registry cannot be reached.
    """
    from mlflow.exceptions import MlflowException

    try:
        pinned, version = _pinned(uri, registry)
        return model_place(uri, _copy(pinned, cache, registry)), version
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise InputError(
                f"{uri}: the registry has no such model, version or alias. "
                "`mergegate status NAME` lists what it has."
            ) from error
        raise EnvironmentFault(f"{uri}: the registry failed: {redacted(error.message)}") from error
    except OSError as error:
        raise EnvironmentFault(
            f"{uri}: could not be copied from the registry: {redacted(str(error))}"
        ) from error


def _pinned(uri: str, registry: str | None) -> tuple[str, str]:
    """`uri` with an alias replaced by its version, and the version."""
    from mlflow import MlflowClient

    if logged := _LOGGED_MODEL.fullmatch(uri):
        return uri, logged[1]
    name, _, alias = uri.removeprefix(SCHEME).partition("@")
    client = MlflowClient(tracking_uri=registry, registry_uri=registry)
    if alias:
        version = str(client.get_model_version_by_alias(name, alias).version)
    else:
        name, _, version = name.partition("/")
        if not _VERSION.fullmatch(version):
            raise InputError(
                f"{uri}: {version!r} is no version. Write models:/NAME/NUMBER or models:/NAME@ALIAS."
            )
        client.get_model_version(name, version)
    return f"{SCHEME}{name}/{version}", version


def _copy(uri: str, cache: Path, registry: str | None) -> Path:
    """The version's artifacts in the cache; they appear there only when whole."""
    from mlflow.artifacts import download_artifacts
    from mlflow.tracking import get_tracking_uri

    folder = cache / digest_of([registry or get_tracking_uri(), uri])[:20]
    if not folder.exists():
        private_folder(cache)
        with tempfile.TemporaryDirectory(prefix=".part-", dir=cache) as part:
            target = Path(part, "artifacts")
            target.mkdir()
            download_artifacts(
                artifact_uri=uri, dst_path=str(target), tracking_uri=registry, registry_uri=registry
            )
            try:
                target.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was quicker
                    raise
    return folder


def model_place(uri: str, folder: Path) -> Path:
    """Where the artifacts of `uri`, in `folder`, hold the model. Raises InputError where they hold none."""
    for place in _PLACES:
        if any((folder / place / name).exists() for name in ("config.json", "adapter_config.json")):
            return folder / place
    raise InputError(
        f"{uri}: its artifacts hold neither a model nor an adapter (config.json or "
        "adapter_config.json). Name a version that was registered with its checkpoint, such as a merge; "
        "an unmerged set only refers to models."
    )
