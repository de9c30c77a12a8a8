"""A version of the registry: its artifacts against what was released, and its tags against both."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote, urlsplit

from flows.verify.folder import RELEASE_FOLDER, verify_beside
from flows.verify.result import Part, Verification
from flows.verify.tags import REGISTRY, merge_tags_fit, unmerged_tags_fit, way_back
from flows.verify.unmerged import manifest_fits, unmerged_fits
from pipeline.errors import EnvironmentFault, InputError
from pipeline.folders import TEMPORARY
from pipeline.release import store
from pipeline.release.bundle import RECORD
from pipeline.release.registry import MERGE, ROLLBACK_VERSION, UNMERGED
from pipeline.release.unmerged import MANIFEST
from pipeline.strict import nearest

SCHEME = "models:/"
_REFERENCE = re.compile(r"models:/([^/@\s]+)(?:/([1-9][0-9]*)|@([A-Za-z0-9_-]+))")
_KIND = "mergegate.kind"
LOCAL = ("", "file")  # schemes of an artifact store that is a folder of this machine
# What MLflow says of a model, version or alias that it does not have.
_UNKNOWN = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


def verify_version(
    uri: str,
    reference: str,
    today: date | None = None,
    key: Path | None = None,
    *,
    unsigned: bool = False,
) -> Verification:
    """Check models:/NAME/VERSION or models:/NAME@ALIAS of the registry at `uri`.

    Of a merge: its release folder as `verify` does, the model's files, the tags, and that its way
    back is there. Of the unmerged set: manifest, adapters and tags. Artifacts that do not lie in a
    folder of this machine are copied to a temporary one, which is removed again.

    `today`, `key` and `unsigned` are those of `verify`. Raises InputError for what is no version, or none that
    mergegate registered, EnvironmentFault where the registry or the disk fails.
    """
    with store.connect(uri, existing=True) as client:
        version = _version(client, reference)
        kind, name = version.tags.get(_KIND), f"{SCHEME}{version.name}/{version.version}"
        if kind not in (MERGE, UNMERGED) or store.RELEASE_DIGEST not in version.tags:
            raise InputError(
                f"{name}: mergegate did not register it: it has no tags {_KIND} and "
                f"{store.RELEASE_DIGEST}, so nothing says what it should be. "
                f"`mergegate status {version.name}` lists the versions that can be verified."
            )
        with _artifacts(client, uri, version) as folder:
            if kind == UNMERGED:
                parts = unmerged_fits(folder, client), unmerged_tags_fit(version, folder / MANIFEST)
                return Verification.of(name, parts, kind=UNMERGED)
            return _merge(client, uri, version, folder, (name, today, key, unsigned))


def _merge(
    client: Any,
    uri: str,
    version: Any,
    folder: Path,
    asked: tuple[str, date | None, Path | None, bool],
) -> Verification:
    name = asked[0]
    if not (folder / RELEASE_FOLDER / RECORD).is_file():
        fault = f"{RELEASE_FOLDER}/{RECORD}: is missing among the artifacts of {name}"
        return Verification.of(name, [Part(faults=(fault,))])
    record, found = verify_beside(folder, *asked)
    target = _target(client, version)
    back = Part()
    if target is not None:
        with _artifacts(client, uri, target, MANIFEST) as manifest:
            back = manifest_fits(
                manifest, target.tags[store.RELEASE_DIGEST], f"version {target.version}: "
            )
    tags = merge_tags_fit(version, record), way_back(version, target, record), back
    return found.with_parts(_named(version, record), *tags)


def _named(version: Any, record: Mapping[str, Any]) -> Part:
    """That the release is one of the model under which it is registered."""
    if not record or record.get("name") == version.name:  # without a record that is a fault already
        return Part()
    says = f"{REGISTRY}: name: is {version.name}, and {RECORD} says {record.get('name')!r:.80}"
    return Part(faults=(says,))


def _target(client: Any, version: Any) -> Any | None:
    """The version that the rollback pointer names, None where there is no such version of ours."""
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_model_version(version.name, version.tags.get(ROLLBACK_VERSION, ""))
    except MlflowException as error:
        if error.error_code in _UNKNOWN:
            return None
        raise
    return found if store.RELEASE_DIGEST in found.tags else None


def _version(client: Any, reference: str) -> Any:
    """The version that a reference names. Raises InputError with what there is instead."""
    from mlflow.exceptions import MlflowException

    parsed = _REFERENCE.fullmatch(reference)
    if not parsed:
        raise InputError(
            f"{reference}: is no version of a registry. Write models:/NAME/VERSION or "
            "models:/NAME@champion."
        )
    name, number, alias = parsed.groups()
    try:
        if number:
            return client.get_model_version(name, number)
        return client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise
    names = [model.name for model in client.search_registered_models()]
    if name not in names:
        hint = nearest(name, names) if names else " Nothing is registered here yet."
        raise InputError(f"{reference}: {name} is not a registered model.{hint}")
    what = f"version {number}" if number else f"alias {alias}"
    raise InputError(f"{reference}: {name} has no {what}. `mergegate status {name}` lists them.")


@contextmanager
def _artifacts(client: Any, uri: str, version: Any, path: str = "") -> Iterator[Path]:
    """The artifacts of a version, or the file `path` of them; see `verify_version`.

    What lies in a folder of this machine is read where it is: a copy would take longer than all else.
    """
    source = client.get_model_version_download_uri(version.name, version.version)
    parts = urlsplit(source)
    if parts.scheme in LOCAL:
        yield Path(unquote(parts.path) if parts.scheme else source) / path
        return
    from mlflow.artifacts import download_artifacts

    with TemporaryDirectory(prefix=TEMPORARY) as scratch:
        try:
            wanted = f"{source.rstrip('/')}/{path}" if path else source
            found = Path(download_artifacts(wanted, dst_path=scratch, tracking_uri=uri))
        except OSError as error:
            raise EnvironmentFault(
                f"{SCHEME}{version.name}/{version.version}: its artifacts could not be copied to "
                f"{scratch}: {error}. Make room there, or name another folder in TMPDIR; where the "
                "registry does not answer, try again later."
            ) from error
        yield found
