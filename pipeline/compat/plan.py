"""Whether the merge can be planned: every layer, tensor and weight that the recipe asks of its sources is there."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.compat.registry import Topic
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.merge import plan_merge
from pipeline.recipe import Recipe
from pipeline.sources import Source

TOPIC = Topic("plan", "The merge can be planned from recipe and sources")


def plan_finding(recipe: Recipe, sources: Iterable[Source]) -> Finding:
    """One finding on the recipe; it needs sources that passed the other checks. Reads headers alone."""
    where = recipe.where
    try:
        plan = plan_merge(recipe, {source.reference: source for source in sources})
    except InputError as error:
        return TOPIC.finding(
            "fail",
            where,
            str(error),
            required="a recipe that fits its sources",
            remedy="Mend the recipe; the merge would stop at the same fault.",
        )
    return TOPIC.finding("pass", where, f"{where}: {len(plan.steps)} tensors can be merged.")
