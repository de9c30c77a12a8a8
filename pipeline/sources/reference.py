"""A reference: the text by which a recipe or params.yaml names a model, with or without adapters.

Grammar: `MODEL[@REVISION][+ADAPTER[@REVISION]]...`, where MODEL and ADAPTER are each a local folder, a
hub id, or an MLflow URI `models:/NAME/VERSION` or `models:/NAME@ALIAS` (there the @ belongs to the
URI). A mapping `{model: {path, revision}, lora: {path, revision}}` says the same; `lora` may be a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from pipeline.errors import InputError
from pipeline.strict import nearest

_REGISTRY_SCHEME = "models:/"
_REGISTRY = re.compile(r"models:/[^/@+\s]+(/[^/@+\s]+|@[^/@+\s]+)|models:/m-[0-9a-f]+")
# A git revision of the hub: a branch, a tag, a commit or refs/pr/N. No dots in a row, nothing that
# a shell reads.
_REVISION = re.compile(r"(?!.*\.\.)[\w.][\w./-]*")
_GRAMMAR = (
    "A reference is MODEL[@REVISION][+ADAPTER[@REVISION]]..., where MODEL is a folder, "
    "a hub id such as owner/name, or models:/NAME/VERSION."
)


_Side = tuple[str, str | None]  # path and revision


@total_ordering
@dataclass(frozen=True)
class Reference:
    """What to open: a model, and an adapter over it or None. Ordered by its text.

    `further` adapters, as text, are added to the first: the differences of all from the model sum up.
    """

    model: str
    revision: str | None = None
    adapter: str | None = None
    adapter_revision: str | None = None
    further: tuple[str, ...] = ()

    @classmethod
    def parse(cls, value: str | Mapping[str, Any]) -> Reference:
        """The reference that a text or a mapping of a YAML file means.

        Raises InputError quoting the grammar.
        """
        if isinstance(value, str):
            return _from_text(value)
        if isinstance(value, Mapping):
            return _from_mapping(value)
        raise InputError(f"{value!r} is not a reference: it must be text or a mapping. {_GRAMMAR}")

    def __str__(self) -> str:
        """The text form; `Reference.parse(str(r)) == r` for every reference that parse returned."""
        text = _join(self.model, self.revision)
        if self.adapter is None:
            return text
        return "+".join([text, _join(self.adapter, self.adapter_revision), *self.further])

    def __lt__(self, other: Reference) -> bool:
        return str(self) < str(other)

    @property
    def base(self) -> Reference:
        """The same reference without its adapters."""
        return Reference(self.model, self.revision)

    def each(self) -> tuple[Reference, ...]:
        """The model with each of its adapters by itself; the reference as it is where it has one or none."""
        first = Reference(self.model, self.revision, self.adapter, self.adapter_revision)
        others = (_split(text, text) for text in self.further)
        return (first, *(Reference(self.model, self.revision, *other) for other in others))


def is_registry_uri(text: str) -> bool:
    """Whether `text` names a model of an MLflow registry."""
    return text.startswith(_REGISTRY_SCHEME)


def _from_text(text: str) -> Reference:
    model, *adapters = (_split(part, text) for part in text.strip().split("+"))
    return _of(model, adapters)


def _of(model: _Side, adapters: Sequence[_Side]) -> Reference:
    """Raises InputError where an adapter is named twice."""
    named = [_join(*adapter) for adapter in adapters]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise InputError(
            f"{_join(*model)}+{'+'.join(named)} names the adapter {twice} twice. "
            "Name it once; a recipe's weight makes its part larger."
        )
    adapter, revision = adapters[0] if adapters else (None, None)
    return Reference(model[0], model[1], adapter, revision, tuple(named[1:]))


def _split(part: str, whole: str) -> _Side:
    """One side of the + as (path, revision)."""
    if is_registry_uri(part):
        if not _REGISTRY.fullmatch(part):
            raise InputError(
                f"{part!r} is not a model of a registry. "
                "Write models:/NAME/VERSION or models:/NAME@ALIAS."
            )
        return part, None
    path, at, revision = part.partition("@")
    if not path or path != path.strip() or any(ord(c) < 32 for c in path):
        raise InputError(f"{whole!r} is not a reference: it lacks a folder or hub id. {_GRAMMAR}")
    if at and not _REVISION.fullmatch(revision):
        raise InputError(
            f"{whole!r}: {revision!r} is not a revision. "
            "Write a branch, a tag or a commit after the @."
        )
    return path, revision if at else None


def _from_mapping(value: Mapping[str, Any]) -> Reference:
    _known(value, ("model", "lora"), "a reference")
    if "model" not in value:
        raise InputError(f"{dict(value)!r} is not a reference: its key `model` is missing.")
    model, revision = _side(value["model"], "model")
    given = value.get("lora")
    listed = given if isinstance(given, list) else [] if given is None else [given]
    return _of((model, revision), [_side(lora, "lora") for lora in listed])


def _side(value: Any, key: str) -> _Side:
    """`{path, revision}`, or the same as text, as (path, revision)."""
    if isinstance(value, str):
        value = dict(zip(("path", "revision"), _split(value, value), strict=True))
    if not isinstance(value, Mapping) or not isinstance(value.get("path"), str):
        raise InputError(f"{key} is {value!r}; it must be text, or a mapping of path and revision.")
    _known(value, ("path", "revision"), key)
    path, revision = value["path"], value.get("revision")
    if "+" in path or ("@" in path and not is_registry_uri(path)):
        raise InputError(
            f"{key}.path is {path!r}; + and @ part adapter and revision in a reference. "
            "Give the revision by its own key, or rename the folder."
        )
    if revision is not None and not isinstance(revision, str):
        raise InputError(f"{key}.revision is {revision!r}; it must be text. Put it in quotes.")
    if revision is not None and is_registry_uri(path):
        raise InputError(f"{key}.path is {path!r}, which names its version; leave revision out.")
    return _split(path if revision is None else f"{path}@{revision}", path)


def _known(value: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    faults = [f"{key!r} is not a key of {where}.{nearest(str(key), keys)}" for key in value]
    if unknown := [fault for key, fault in zip(value, faults, strict=True) if key not in keys]:
        raise InputError.of(unknown)


def _join(path: str | None, revision: str | None) -> str:
    return f"{path}@{revision}" if revision else str(path)
