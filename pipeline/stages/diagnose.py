"""Stage `diagnose`: what the differences of a candidate's sources look like, for the card's method rationale."""

from __future__ import annotations

from pipeline.diagnose import diagnose, rationale, write_heatmap
from pipeline.facts import write_json
from pipeline.params import load_params
from pipeline.progress import meter
from pipeline.recipe import load_recipe
from pipeline.stages.workspace import BUILD, all_pins, open_pinned


def run(candidate: str) -> None:
    """Write build/CANDIDATE/diagnosis.json and heatmap.png."""
    params = load_params()
    recipe, pins = load_recipe(params.recipe(candidate)), all_pins(params, candidate)
    sources = {
        reference: open_pinned(params, str(reference), pins) for reference in recipe.references()
    }
    with meter(f"diagnose {candidate}", None, "MB") as progress:
        found = diagnose(recipe, sources, progress=progress.bytes_to)
    folder = BUILD / candidate
    write_json(folder / "diagnosis.json", {**found.to_json(), "rationale": rationale(found)})
    write_heatmap(found, folder / "heatmap.png")
