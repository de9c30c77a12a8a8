"""Stage `ledger`: how a candidate stands among all that were judged on its golden sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gates import Policy
from gates.recompute import LEDGER
from pipeline.facts import read_json, write_json
from pipeline.params import Params, load_params
from pipeline.recipe import load_recipe
from pipeline.stages.workspace import BUILD


def run(candidate: str) -> None:
    """Write build/CANDIDATE/ledger.json."""
    write_json(BUILD / candidate / LEDGER, standing_of(load_params(), candidate))


def standing_of(params: Params, candidate: str) -> dict[str, Any]:
    """The candidates counted on each golden set, and earlier judgements of the same one, as JSON values."""
    from pipeline.release.ledger import read_ledger, standing

    evaluation = read_json(BUILD / candidate / "evals" / "merged.json")
    return standing(
        read_ledger(params.registry_uri, params.name),
        merge=evaluation["model_digest"],
        golden=golden_digests(evaluation),
        recipe=load_recipe(params.recipe(candidate)).digest,
        fixed_policy=Policy.parse(params.policy, "params.yaml: policy").fixed_digest,
    )


def golden_digests(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the golden sets that scores were made with, by skill."""
    tasks = evaluation["tasks"]
    return {s: facts["golden_digest"] for s, facts in tasks.items() if facts["golden_digest"]}
