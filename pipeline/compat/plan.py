"""Whether the merge can be planned: every layer, tensor and weight that the recipe asks of its sources is there."""

from __future__ import annotations

from pipeline.compat.registry import CompatFacts, Topic
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.merge import plan_merge

TOPIC = Topic("plan", "The merge can be planned from recipe and sources")


def plan_finding(facts: CompatFacts) -> Finding:
    """One finding on the recipe; it needs sources that passed the other checks. Reads headers alone."""
    where = facts.recipe.where
    try:
        plan = plan_merge(facts.recipe, {s.reference: s for s in facts.sources.values()})
    except InputError as error:
        return TOPIC.finding(
            "fail",
            where,
            str(error),
            required="a recipe that fits its sources",
            remedy="Mend the recipe; the merge would stop at the same fault.",
        )
    return TOPIC.finding("pass", where, f"{where}: {len(plan.steps)} tensors can be merged.")
