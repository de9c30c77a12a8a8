"""Stage `sources`: pin the base and the experts, and note the libraries and the code that results depend on, and who
signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.facts import write_json
from pipeline.params import load_params
from pipeline.progress import MB, meter
from pipeline.release.disclosure import check_disclosure
from pipeline.sources import Source, pin
from pipeline.sources.folders import regular_files
from pipeline.stages.code import code_of_stages
from pipeline.stages.workspace import (
    CODE,
    ENVIRONMENT,
    HASHES,
    SIGNING,
    SOURCES,
    environment,
    open_reference,
)


def run() -> None:
    """Read params.yaml; write build/sources.json, environment.json, code.json and signing.json.

    What no release may hold is refused here, before anything is computed.
    """
    params = load_params()
    stated = {"base": params.base, "experts": dict(params.experts)}
    check_disclosure(stated, "params.yaml")
    references = [params.base, *params.experts.values()]
    sources = {text: open_reference(text, params.registry_uri) for text in references}
    write_json(SOURCES, {**stated, "pins": _pinned(sources)})
    write_json(ENVIRONMENT, environment())
    write_json(CODE, code_of_stages(params))
    write_json(SIGNING, signer())


def signer() -> dict[str, str]:
    """Who signs releases: fingerprint and algorithm of the key, and the method. Makes a key where there is none."""
    from pipeline.release.bundle import signing
    from pipeline.release.keys import load_signing_key

    return signing(load_signing_key())


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
