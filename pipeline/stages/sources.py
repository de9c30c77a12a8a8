"""Stage `sources`: pin the base and the experts, and note the environment that results depend on, and who signs."""

from __future__ import annotations

from pipeline.facts import write_json
from pipeline.params import load_params
from pipeline.release.disclosure import check_disclosure
from pipeline.sources import pin
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
    pins = {text: pin(open_reference(text, params.registry_uri), HASHES) for text in references}
    write_json(SOURCES, {**stated, "pins": pins})
    write_json(ENVIRONMENT, environment())
    write_json(SIGNING, signer())
