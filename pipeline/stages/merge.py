"""Stage `merge`: make a candidate by its recipe, or the plain task arithmetic that all are compared with."""

from __future__ import annotations

from typing import Any

from pipeline.facts import read_json
from pipeline.merge import merge
from pipeline.params import Params, load_params
from pipeline.progress import meter
from pipeline.recipe import Recipe, load_recipe, parse_recipe
from pipeline.stages.workspace import BUILD, HASHES, PLAIN, SOURCES, all_pins, open_pinned


def run(candidate: str) -> None:
    """Merge into build/CANDIDATE/merged; `plain` needs no recipe file."""
    params = load_params()
    if candidate == PLAIN.name:
        recipe, pins = plain_recipe(params), read_json(SOURCES)["pins"]
    else:
        recipe, pins = load_recipe(params.recipe(candidate)), all_pins(params, candidate)
    sources = {
        reference: open_pinned(params, str(reference), pins) for reference in recipe.references()
    }
    out = BUILD / candidate / "merged"
    with meter(f"merge {candidate}", None, "MB") as progress:
        merge(
            recipe,
            sources,
            out,
            seed=params.seed,
            force=True,
            durable=True,
            hashes=HASHES,
            progress=progress.bytes_to,
        )


def plain_recipe(params: Params) -> Recipe:
    """Plain task arithmetic of the experts: base plus every delta, each with weight 1."""
    recipe: dict[str, Any] = {
        "merge_method": "task_arithmetic",
        "base_model": params.base,
        "models": [
            {"model": reference, "parameters": {"weight": 1.0}}
            for reference in params.experts.values()
        ],
    }
    return parse_recipe(recipe, "plain task arithmetic of the experts in params.yaml")
