"""Names for what is measured: the sources, and the places of tensors in the model."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from pipeline.merge.names import Layers
from pipeline.merge.plan import Plan, Step
from pipeline.recipe import Recipe
from pipeline.recipe.operands import operands_of
from pipeline.sources import Reference

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def source_names(recipe: Recipe) -> tuple[str, ...]:
    """Every source, once each, in order of appearance."""
    found = (labels_of(s.model for s in operands_of(recipe, part).models) for part in recipe.slices)
    return tuple(dict.fromkeys(label for labels in found for label in labels))


def labels_of(references: Iterable[Reference]) -> list[str]:
    """A name for each operand; a model that is named again in one slice is told apart by a number."""
    seen: Counter[Reference] = Counter()
    labels = []
    for reference in references:
        seen[reference] += 1
        more = f" ({seen[reference]})" if seen[reference] > 1 else ""
        labels.append(f"{reference}{more}")
    return labels


def place_of(plan: Plan, step: Step) -> tuple[int | None, str]:
    """Its layer in the output and the kind of its module: the name without layer, numbers and `.weight`."""
    layers = Layers(step.template.weights.layers.prefix, len(plan.layers))
    layer, rest = layers.split(step.name)
    if layer is None and layers.prefix:
        rest = rest.removeprefix(layers.prefix.rstrip(".").rpartition(".")[0] + ".")
    return layer, _NUMBER.sub("*", rest.removesuffix(".weight"))
