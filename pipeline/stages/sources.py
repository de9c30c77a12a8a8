"""Stage `sources`: pin the base and the experts, and note the libraries and the code that results depend on, and who
signs.
"""

from __future__ import annotations

from pipeline.facts import write_json
from pipeline.params import load_params
from pipeline.release.disclosure import check_disclosure
from pipeline.sources import pin
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
    pins = {text: pin(open_reference(text, params.registry_uri), HASHES) for text in references}
    write_json(SOURCES, {**stated, "pins": pins})
    write_json(ENVIRONMENT, environment())
    write_json(CODE, code_of_stages(params))
    write_json(SIGNING, signer())


def signer() -> dict[str, str]:
    """Who signs releases: fingerprint and algorithm of the key, and the method. Makes a key where there is none."""
    from pipeline.release.bundle import signing
    from pipeline.release.keys import load_signing_key

    return signing(load_signing_key())
