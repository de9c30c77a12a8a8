"""Stage `sources`: pin the base and the experts, and note the environment that results depend on, and who signs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.facts import write_json
from pipeline.params import load_params
from pipeline.progress import MB, meter
from pipeline.release.disclosure import check_disclosure
from pipeline.sources import Source, pin
from pipeline.sources.folders import regular_files
from pipeline.stages.workspace import (
    ENVIRONMENT,
    HASHES,
    SIGNING,
    SOURCES,
    environment,
    open_reference,
    signer,
)


def run() -> None:
    """Read params.yaml; write build/sources.json, build/environment.json and build/signing.json.

    What no release may hold is refused here, before anything is computed.
    """
    params = load_params()
    stated = {"base": params.base, "experts": dict(params.experts)}
    check_disclosure(stated, "params.yaml")
    references = [params.base, *params.experts.values()]
    sources = {text: open_reference(text, params.registry_uri) for text in references}
    write_json(SOURCES, {**stated, "pins": _pinned(sources)})
    write_json(ENVIRONMENT, environment())
    write_json(SIGNING, signer())


def _pinned(sources: Mapping[str, Source]) -> dict[str, Any]:
    """The pin of each source; every byte is read that no earlier stage has read."""
    sizes = {text: _bytes(source) for text, source in sources.items()}
    total, done, pins = sum(sizes.values()), 0, {}
    with meter("hash the sources", total // MB, "MB") as progress:
        for text, source in sources.items():
            pins[text] = pin(source, HASHES)
            progress.bytes_to(done := done + sizes[text], total)
    return pins


def _bytes(source: Source) -> int:
    adapters = [source.adapter, *(one for one, _ in source.further)]
    folders = [source.model.folder, *(one.folder for one in adapters if one)]
    return sum(path.stat().st_size for folder in folders for path in regular_files(folder))
