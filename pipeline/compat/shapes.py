"""Check `shapes`: sources have the base's tensors, by name and shape."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeline.compat.registry import CompatFacts, Topic, check, listed
from pipeline.facts import Finding
from pipeline.sources import Checkpoint

TOPIC = Topic("shapes", "Sources have the same tensors")
# The tensors with one row for each token, by the names that transformers gives them.
VOCABULARY_ROWS = re.compile(
    r".*\b(embed_tokens|wte|word_embeddings|embed_in|embed_out|lm_head)\.\w+"
)
Shapes = Mapping[str, tuple[int, ...]]


@check(TOPIC)
def shapes(facts: CompatFacts) -> list[Finding]:
    """One finding per source, naming tensors that it lacks, adds, or has in another shape."""
    return [_compare(facts, name, source.model) for name, source in facts.others()]


def _compare(facts: CompatFacts, name: str, model: Checkpoint) -> Finding:
    if facts.is_base(model):
        return TOPIC.finding("pass", name, f"{name} lies on the base itself.")
    theirs, ours = _shapes(facts, model), _shapes(facts, facts.base_model)
    lacking = [f"{n} is missing" for n in sorted(ours.keys() - theirs.keys())]
    extra = [f"{n} is not in the base" for n in sorted(theirs.keys() - ours.keys())]
    differing = [n for n in sorted(ours.keys() & theirs.keys()) if ours[n] != theirs[n]]
    words = [f"{n} is {list(theirs[n])}, in the base {list(ours[n])}" for n in differing]
    rows_only = all(_rows_differ(n, theirs[n], ours[n]) for n in differing)
    if not (faults := words + lacking + extra):
        return TOPIC.finding("pass", name, f"{name} has the tensors of {facts.base}.")
    if rows_only and not lacking and not extra and facts.resolves_vocabulary:
        return TOPIC.resolved(name, f"{name}: {listed(words)}", facts.resolves_vocabulary)
    return TOPIC.finding(
        "fail",
        name,
        f"{name} differs in its tensors from {facts.base}: {listed(faults)}.",
        observed=f"{len(theirs)} tensors",
        required=f"{len(ours)} tensors",
        remedy=(
            "Say in the recipe how the vocabularies are joined: tokenizer_source: union or base."
            if differing and rows_only and not lacking and not extra
            else "Merge models with the same tensors: take fine-tunes of this base."
        ),
    )


def _shapes(facts: CompatFacts, model: Checkpoint) -> Shapes:
    """The shapes by name; without layer numbers for a recipe with slices, which states them."""
    shapes = {name: info.shape for name, info in model.tensors.items()}
    if model.tied:  # some releases store the tied head a second time
        shapes.pop("lm_head.weight", None)
    if facts.recipe.stacked:
        return {re.sub(r"\.\d+\.", ".N.", name, count=1): s for name, s in shapes.items()}
    return shapes


def _rows_differ(name: str, theirs: tuple[int, ...], ours: tuple[int, ...]) -> bool:
    """Whether the tensor has rows for tokens, and differs in their number alone."""
    return bool(VOCABULARY_ROWS.fullmatch(name)) and theirs[1:] == ours[1:]
