"""A recipe read for its differences: the same models at the same layers, each minus the base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline.errors import InputError
from pipeline.recipe import Conditional, Recipe, Slice
from pipeline.recipe.operands import operand_faults
from pipeline.sources import Reference, Source

_METHOD = "task_arithmetic"  # the one whose operands are the differences and nothing else
_WEIGHTS = {"weight": (Conditional(None, (1.0,)),)}


@dataclass(frozen=True)
class Differences:
    """A recipe of `task_arithmetic` and all that it names, opened.

    `base_known` says that the models were made from the base, as far as the recipe tells; otherwise it is
    only the first of them.
    """

    recipe: Recipe
    sources: Mapping[Reference, Source]
    base_known: bool


def as_differences(recipe: Recipe, sources: Mapping[Reference, Source]) -> Differences:
    """The differences that `recipe` speaks of. `sources` are those of its references.

    The base is the recipe's. A recipe without one, or of slerp, whose base_model is one of the two models,
    gets the first model: if that is an adapter over a checkpoint, the checkpoint. Raises InputError where
    a slice has nothing besides the base.
    """
    named = None if recipe.merge_method == "slerp" else _named_base(recipe)
    first = recipe.base_model or recipe.slices[0].sources[0].model
    base = named or first.base
    rewritten = replace(
        recipe,
        merge_method=_METHOD,
        base_model=base,
        slices=tuple(_bare(part, keep_base=named is not None) for part in recipe.slices),
        parameters=_WEIGHTS,
        module_parameters={},
        out_dtype=None,
        chat_template=None,
    )
    if faults := list(_faults(rewritten)) or list(operand_faults(rewritten)):
        raise InputError.of(faults)
    opened = dict(sources)
    if base not in opened:
        under = sources[first]
        opened[base] = Source(base, under.model, None, under.model_revision, None)
    known = named is not None or first.adapter is not None
    return Differences(rewritten, opened, known)


def _named_base(recipe: Recipe) -> Reference | None:
    return recipe.base_model or recipe.slices[0].base_model


def _bare(part: Slice, *, keep_base: bool) -> Slice:
    """The slice without parameters, which mean nothing to another method."""
    return Slice(
        tuple(replace(source, parameters={}) for source in part.sources),
        part.base_model if keep_base else None,
        {},
    )


def _faults(recipe: Recipe) -> Iterator[str]:
    for index, part in enumerate(recipe.slices):
        base = part.base_model or recipe.base_model
        if all(source.model == base for source in part.sources):
            where = f"slices[{index}]" if recipe.stacked else "the recipe"
            yield (
                f"{recipe.where}: {where} has no model besides {base}, "
                "so there is no difference to look at. "
                "Diagnose a recipe that merges models, or name as base_model what they came from."
            )
