"""The frozen types of a parsed recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pipeline.recipe.methods import METHODS, MethodSpec
from pipeline.recipe.parameters import Parameters
from pipeline.sources.reference import Reference

Dtype = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class SliceSource:
    """One model of a slice. `layers` is half-open; None stands for all layers (recipes with `models`)."""

    model: Reference
    layers: tuple[int, int] | None
    parameters: Parameters


@dataclass(frozen=True)
class Slice:
    """A run of output layers and the models that it is merged from, in the order of the recipe."""

    sources: tuple[SliceSource, ...]
    base_model: Reference | None
    parameters: Parameters


@dataclass(frozen=True)
class TokenRow:
    """Where the embedding rows of a token come from: zeros, or those of a token of `model`.

    `token` is the token's text in that model, or its id; None stands for the same text.
    """

    model: Reference | None
    token: str | int | None = None


@dataclass(frozen=True)
class TokenRule:
    """What a recipe says of one output token. With `force` the row replaces also those of models that have it."""

    row: TokenRow | None
    force: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """How the output vocabulary is made: of all models ("union"), of the base ("base"), or of one model."""

    source: Literal["union", "base"] | Reference
    tokens: Mapping[str, TokenRule]
    pad_to_multiple_of: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A merge as its author states it. Every parameter is known, in range and present; no model was opened.

    A recipe with `models` has one slice whose sources span all layers; `stacked` tells it from one with `slices`.
    `digest` is the SHA-256 of the parsed YAML values: comments and layout do not count.
    """

    merge_method: str
    slices: tuple[Slice, ...]
    stacked: bool
    base_model: Reference | None
    parameters: Parameters
    module_parameters: Parameters
    dtype: Dtype | None
    out_dtype: Dtype | None
    chat_template: str | None
    tokenizer_source: Literal["union", "base"] | Reference | None  # as written
    tokenizer: Tokenizer | None  # in effect: from `tokenizer`, else from `tokenizer_source`
    where: str
    text: str
    digest: str

    @property
    def method(self) -> MethodSpec:
        """The entry of the merge method in `METHODS`."""
        return METHODS[self.merge_method]

    @property
    def has_gradients(self) -> bool:
        """Whether any parameter varies over layers."""
        levels = [self.parameters, self.module_parameters, *(s.parameters for s in self.slices)]
        levels += [source.parameters for part in self.slices for source in part.sources]
        parameters = (parameter for level in levels for parameter in level.values())
        return any(len(c.gradient) > 1 for parameter in parameters for c in parameter)

    def references(self) -> tuple[Reference, ...]:
        """Every model that the recipe names, once each: the base first, then in order of appearance."""
        return tuple(dict.fromkeys(self._named()))

    def _named(self) -> Iterator[Reference]:
        if self.base_model:
            yield self.base_model
        for part in self.slices:
            if part.base_model:
                yield part.base_model
            yield from (source.model for source in part.sources)
        if self.tokenizer:
            if isinstance(self.tokenizer.source, Reference):
                yield self.tokenizer.source
            rows = (rule.row for rule in self.tokenizer.tokens.values())
            yield from (row.model for row in rows if row and row.model)
