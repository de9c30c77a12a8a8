"""The arguments of a method for one tensor, from the levels of a recipe."""

from __future__ import annotations

from typing import Any

from pipeline.merge.methods.sums import VANISHING
from pipeline.recipe.methods import ParameterSpec
from pipeline.recipe.operands import Operands, levels_of
from pipeline.recipe.parameters import value_through
from pipeline.recipe.types import Recipe, Slice, SliceSource


def method_settings(
    recipe: Recipe,
    part: Slice,
    operands: Operands,
    tensor: str,
    position: float | None,
    faults: list[str],
) -> dict[str, Any]:
    """Every argument of the method by name; a tuple over the models where a parameter is per model.

    Where a parameter has no value for this tensor, or weights cannot be normalized, a fault.
    """
    settings: dict[str, Any] = {}

    def value(spec: ParameterSpec, source: SliceSource | None) -> float | bool:
        levels = levels_of(recipe, part, source)
        found = value_through(levels, spec.name, tensor, position)
        found = spec.default if found is None else found
        if found is None:
            faults.append(_no_value(recipe, spec, source, tensor))
        return bool(found) if spec.flag else float(found or 0.0)

    for spec in recipe.method.parameters.values():
        settings[spec.argument] = (
            tuple(value(spec, source) for source in operands.models)
            if spec.per_model
            else value(spec, None)
        )
    faults.extend(_zero_sum(recipe, settings, tensor))
    faults.extend(_keep_probabilities(recipe, settings, tensor))
    return settings


def _no_value(recipe: Recipe, spec: ParameterSpec, source: SliceSource | None, tensor: str) -> str:
    of = f" of {source.model}" if source else ""
    return (
        f"{recipe.where}: no filter of {spec.name}{of} matches {tensor}. "
        f"Add a last entry without a filter, for example `- value: {spec.example.split()[-1]}`."
    )


def _zero_sum(recipe: Recipe, settings: dict[str, Any], tensor: str) -> list[str]:
    """A weighted mean of tensors or directions needs weights with a sum; deltas fall back to a divisor of 1."""
    key = {"linear": "normalize", "multislerp": "normalize_weights"}.get(recipe.merge_method)
    weights = settings.get("weight", ())
    if key is None or not settings[key]:
        return []
    if abs(sum(weights)) > VANISHING * sum(map(abs, weights)):
        return []
    return [
        f"{recipe.where}: the weights for {tensor} are {list(weights)}; "
        f"their sum is 0, and a mean divides by it. Change a weight, or set {key}: false."
    ]


def _keep_probabilities(recipe: Recipe, settings: dict[str, Any], tensor: str) -> list[str]:
    """DELLA keeps entries with probabilities from density - epsilon to density + epsilon; or all, at density 1."""
    if recipe.merge_method not in ("della", "della_linear"):
        return []
    pairs = zip(settings["density"], settings["epsilon"], strict=True)
    return [
        f"{recipe.where}: for {tensor} density is {density:g} and epsilon {epsilon:g}; "
        f"{density:g} - {epsilon:g} and {density:g} + {epsilon:g} must lie between 0 and 1, for they are "
        "probabilities. Lower epsilon, or set density: 1 to keep all."
        for density, epsilon in pairs
        if density != 1 and not (density - epsilon > 0 and density + epsilon < 1)
    ]
