"""Stage `sources`: pin the base and the experts, and note the environment that results depend on."""

from __future__ import annotations

from pipeline.facts import write_json
from pipeline.params import load_params
from pipeline.sources import pin
from pipeline.stages.workspace import ENVIRONMENT, HASHES, SOURCES, environment, open_reference


def run() -> None:
    """Read params.yaml; write build/sources.json and build/environment.json."""
    params = load_params()
    references = [params.base, *params.experts.values()]
    pins = {text: pin(open_reference(text, params.registry_uri), HASHES) for text in references}
    write_json(SOURCES, {"base": params.base, "experts": dict(params.experts), "pins": pins})
    write_json(ENVIRONMENT, environment())
