"""Which models of a slice enter the method, in which order, and how many a method takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.recipe.parameters import Parameters
from pipeline.recipe.types import Recipe, Slice, SliceSource
from pipeline.sources.reference import Reference

# Methods on whole tensors in which a base model is a model among others.
_COUNT_BASE = ("linear", "karcher")


@dataclass(frozen=True)
class Operands:
    """The models of one slice by role. `base` is None for methods that do not take differences."""

    base: SliceSource | None
    models: tuple[SliceSource, ...]


def operands_of(recipe: Recipe, part: Slice) -> Operands:
    """The operands of a slice.

    Methods on deltas, or on either where there is a base: every source but the base, in order; the
    base may be listed or not. slerp:
    two models, the base first where there is one. linear, karcher and passthrough: the sources as
    listed; of `models`, linear and karcher take a base that is not listed as one more, the last, as
    mergekit does. Where the recipe has no weight for it, it has no part in the sum; mergekit refuses that.
    """
    base = part.base_model or recipe.base_model
    if recipe.method.operands == "deltas" or (recipe.method.operands == "either" and base):
        models = tuple(source for source in part.sources if source.model != base)
        return Operands(_base_source(recipe, part), models)
    if recipe.merge_method == "slerp" and base is not None:
        return Operands(None, _base_first(part, _base_source(recipe, part)))
    if base and _counts_base(recipe, part, base):
        return Operands(None, (*part.sources, SliceSource(base, None, {})))
    return Operands(None, part.sources)


def _counts_base(recipe: Recipe, part: Slice, base: Reference) -> bool:
    """Whether an unlisted base is one more source, with all that the method must know of a source."""
    if recipe.stacked or any(source.model == base for source in part.sources):
        return False
    needed = [
        spec.name
        for spec in recipe.method.parameters.values()
        if spec.per_model and spec.default is None
    ]
    levels = levels_of(recipe, part, None)
    return recipe.merge_method in _COUNT_BASE and all(
        any(name in level for level in levels) for name in needed
    )


def levels_of(recipe: Recipe, part: Slice, source: SliceSource | None) -> tuple[Parameters, ...]:
    """Where a parameter is looked up, nearest first; without a source: for the whole slice."""
    own = (source.parameters,) if source else ()
    return (*own, part.parameters, recipe.module_parameters, recipe.parameters)


def operand_faults(recipe: Recipe) -> Iterator[str]:
    """Faults in the number of models, their layer ranges and their required parameters."""
    for index, part in enumerate(recipe.slices):
        where = f"{recipe.where}: recipe" + (f".slices[{index}]" if recipe.stacked else "")
        yield from _count_faults(recipe, part, where)
        yield from _layer_faults(recipe, part, where)
        yield from _required_faults(recipe, part, where)


def _base_source(recipe: Recipe, part: Slice) -> SliceSource | None:
    """The base as listed in the slice, else as if listed with the layers of the first source."""
    base = part.base_model or recipe.base_model
    if base is None:
        return None
    listed = (source for source in part.sources if source.model == base)
    return next(listed, SliceSource(base, part.sources[0].layers, {}))


def _base_first(part: Slice, base: SliceSource | None) -> tuple[SliceSource, ...]:
    if base is None or (base not in part.sources and len(part.sources) != 1):
        return part.sources
    others = list(part.sources)
    if base in others:
        others.remove(base)
    return (base, *others)


def _count_faults(recipe: Recipe, part: Slice, where: str) -> Iterator[str]:
    least, most = recipe.method.models
    found = len(operands_of(recipe, part).models)
    base = part.base_model or recipe.base_model
    if recipe.method.needs_base and base is None:
        yield f"{where}.base_model is missing; {recipe.merge_method} merges differences from it."
    elif not least <= found <= most:
        besides = " besides the base" if operands_of(recipe, part).base else ""
        wanted = f"exactly {least}" if least == most else f"at least {least}"
        yield f"{where} has {found} models{besides}; {recipe.merge_method} takes {wanted}."
    elif recipe.merge_method == "slerp" and base and base not in _models(operands_of(recipe, part)):
        yield (
            f"{where}: base_model {base} is neither of the two models, "
            "but slerp starts at the base. "
            "Name one of the two, or leave base_model out to start at the first."
        )


def _layer_faults(recipe: Recipe, part: Slice, where: str) -> Iterator[str]:
    spans = [(str(source.model), source.layers) for source in part.sources if source.layers]
    if len({end - first for _, (first, end) in spans}) > 1:
        yield f"{where}: the layer ranges differ in length: {_spans(spans)}. Make them equal."
    base = part.base_model or recipe.base_model
    takes_base = recipe.method.operands != "tensors" or recipe.merge_method == "slerp"
    listed = any(source.model == base for source in part.sources)
    if takes_base and base and not listed and len({span for _, span in spans}) > 1:
        yield (
            f"{where}: the layer ranges differ ({_spans(spans)}), so that of the base is open. "
            f"List base_model {base} as a source with its layer_range."
        )


def _required_faults(recipe: Recipe, part: Slice, where: str) -> Iterator[str]:
    for spec in recipe.method.parameters.values():
        if spec.default is not None:
            continue
        for source in operands_of(recipe, part).models if spec.per_model else (None,):
            if not any(spec.name in level for level in levels_of(recipe, part, source)):
                of = f" for {source.model}" if source else ""
                yield (
                    f"{where}: {recipe.merge_method} needs the parameter {spec.name}{of}. "
                    f"{spec.meaning} Use for example `{spec.example}`."
                )


def _models(operands: Operands) -> set[Reference]:
    return {source.model for source in operands.models}


def _spans(spans: Sequence[tuple[str, tuple[int, int]]]) -> str:
    return ", ".join(f"{name} [{first}, {end}]" for name, (first, end) in spans)
