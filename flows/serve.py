"""Serving a registered version: the command for vLLM, or one answer here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.stages.workspace import CACHE


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
        uri, name, version, unmerged=unmerged, port=port, download=download, cache=CACHE
    )
    return report.to_json()


def answer_here(
    uri: str, name: str, version: int | None, *, unmerged: bool, prompt: str, expert: str
) -> dict[str, Any]:
    """One prompt answered by a version on this machine, see `pipeline.release.proof`."""
    from pipeline.release.proof import prove

    return prove(uri, name, version, unmerged=unmerged, prompt=prompt, expert=expert).to_json()
