"""Stage `check`: pin the sources of a candidate's recipe and find whether they belong together."""

from __future__ import annotations

from dataclasses import asdict

from pipeline.compat import CHECKS, run_checks
from pipeline.errors import InputError
from pipeline.facts import write_json
from pipeline.params import Params, load_params
from pipeline.recipe import load_recipe
from pipeline.sources import pin
from pipeline.stages.workspace import BUILD, HASHES, open_reference
from pipeline.strict import nearest
from pipeline.waivers import Waiver, parse_waivers


def run(candidate: str) -> None:
    """Read the candidate's recipe; write build/CANDIDATE/compat.json. A blocking finding ends the release here."""
    params = load_params()
    recipe = load_recipe(params.recipe(candidate))
    sources = {
        str(reference): open_reference(str(reference), params.registry_uri)
        for reference in recipe.references()
    }
    findings = run_checks(recipe, sources, _waivers(params), cache=HASHES)
    write_json(
        BUILD / candidate / "compat.json",
        {
            "recipe_digest": recipe.digest,
            "pins": {text: pin(source, HASHES) for text, source in sources.items()},
            "findings": [asdict(finding) for finding in findings],
        },
    )
    if faults := [f"{f.message} {f.remedy}".strip() for f in findings if f.blocks]:
        raise InputError.of(faults)


def _waivers(params: Params) -> tuple[Waiver, ...]:
    faults: list[str] = []
    given = params.policy.get("waivers")
    waivers = parse_waivers(() if given is None else given, "params.yaml: policy.waivers", faults)
    checks = {*CHECKS, "latency", *params.evaluate.skills}
    faults += [
        f"params.yaml: policy.waivers names {waiver.check!r}, which is no check."
        f"{nearest(waiver.check, checks)}"
        for waiver in waivers
        if waiver.check and waiver.subject not in checks
    ]
    if faults:
        raise InputError.of(faults)
    return waivers
