"""The journal that the current folder's workspace keeps of a registry, or why there is none to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.redaction import redacted

_PARAMS = "params.yaml"


@dataclass(frozen=True)
class Kept:
    """The journal of a model in this workspace; `why_none`, a sentence, where there is none to compare with."""

    path: Path | None
    # Whether it must have every change: the registry lies in the workspace, and so does whoever changes it.
    whole: bool = False
    why_none: str = ""
    ours: bool = False  # whether the model is the one that the workspace releases


def journal_of(uri: str, name: str) -> Kept:
    """The journal to hold against model `name` of the registry at `uri`.

    It is that of the current folder, where the registry is the one that its params.yaml names: the same text, or
    the same SQLite file.
    """
    from pipeline.params import load_params
    from pipeline.release import store

    if not Path(_PARAMS).is_file():
        return _none(
            f"there is no {_PARAMS} in this folder, so it is no workspace. Run it in that of the registry."
        )
    try:
        params = load_params()
    except (
        InputError
    ) as error:  # with --uri and NAME it may be another tool's; without, it was read before
        first = str(error).partition("\n")[0]
        return _none(f"{_PARAMS} of this folder does not say where it is ({first}).")
    if not store.same(uri, params.registry_uri):
        other = redacted(params.registry_uri)
        return _none(
            f"{_PARAMS} of this folder names another registry, {other}. Run it in the workspace of this one."
        )
    path = params.registry_journal / f"{name}.jsonl"
    ours = name == params.name
    if not ours and not path.exists():
        return _none(
            f"this workspace releases {params.name}, and has none of {name} ({path} is not there)."
        )
    return Kept(path, store.lies_in(uri, Path()), ours=ours)


def _none(why: str) -> Kept:
    return Kept(None, why_none=f"No journal was compared: {why}")
