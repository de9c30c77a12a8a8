"""Serving a registered version: the command for vLLM, or one answer here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.stages.workspace import CACHE, known_hashes


def serving_commands(
    uri: str,
    name: str,
    version: int | None,
    *,
    unmerged: bool,
    port: int,
    download: Path | None,
) -> dict[str, Any]:
    """The commands that serve a version, see `pipeline.release.serving`."""
    from pipeline.release.serving import serving

    report = serving(
        uri,
        name,
        version,
        unmerged=unmerged,
        port=port,
        download=download,
        cache=CACHE,
        hashes=known_hashes(),
    )
    return {**report.to_json(), "warnings": _moved_by_hand(uri, name, version)}


def answer_here(
    uri: str, name: str, version: int | None, *, unmerged: bool, prompt: str, expert: str
) -> dict[str, Any]:
    """One prompt answered by a version on this machine, see `pipeline.release.proof`."""
    from pipeline.release.proof import prove

    answer = prove(uri, name, version, unmerged=unmerged, prompt=prompt, expert=expert)
    return {**answer.to_json(), "warnings": _moved_by_hand(uri, name, version)}


def _moved_by_hand(uri: str, name: str, version: int | None) -> list[str]:
    """That the champion is one by its alias alone, where the champion is what was asked for and that is so."""
    from pipeline.release.changes import standing

    now = standing(uri, name)
    if version is not None or now.head is None or not now.moved_by_hand:
        return []
    return [
        f"the alias champion is at version {now.alias}, and change {now.head.number}, the last that was recorded, made "
        f"version {now.head.version} champion: somebody moved the alias in MLflow. `mergegate doctor {name}` says "
        f"more; --version {now.head.version} serves what was released."
    ]
