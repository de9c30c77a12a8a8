"""What a merge will do, tensor by tensor, before a byte is computed; `planner` makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.merge.safetensors_writer import TensorSpec
from pipeline.merge.vocabulary import Vocabulary
from pipeline.merge.weights import Weights
from pipeline.recipe.types import Recipe
from pipeline.sources.reference import Reference

# The types that arithmetic is done on, by their name in safetensors. Others are copied if equal.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Operand:
    """One tensor of one source."""

    weights: Weights
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape as stored."""
        return self.weights.tensors[self.name].shape

    @property
    def adapted(self) -> bool:
        """Whether the source's adapter changes it."""
        return self.weights.adapted(self.name)

    def same_bytes(self, other: Operand) -> bool:
        """Whether both are the same stored tensor, changed by no adapter."""
        same = self.name == other.name and self.weights.same_model(other.weights)
        return same and not self.adapted and not other.adapted


@dataclass(frozen=True)
class Step:
    """One tensor of the output: how it is made and what it will be.

    `base` is None for methods that take no differences. `copied` says that the bytes of the first
    operand are the result. `dtype` is that of safetensors; `rows` says that it has a row per token.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    base: Operand | None
    operands: tuple[Operand, ...]
    settings: Mapping[str, Any]
    rows: bool
    copied: bool

    @property
    def spec(self) -> TensorSpec:
        """What is written."""
        return TensorSpec(self.name, self.dtype, self.shape)

    @property
    def template(self) -> Operand:
        """The operand that the output is like: the base, else the first model."""
        return self.base or self.operands[0]


@dataclass(frozen=True)
class Plan:
    """All steps, in order of name, and the shape of the model that they make.

    `vocabulary` is None where no row moves; `tokenizer` is the model whose tokenizer files the
    output takes. `layers` gives, for each output layer, the layer of the slice's first model (or
    base) that it is like.
    """

    recipe: Recipe
    steps: tuple[Step, ...]
    weights: Mapping[Reference, Weights]
    vocabulary: Vocabulary | None
    tokenizer: Weights
    layers: tuple[int, ...]

    @property
    def donor(self) -> Weights:
        """The model whose configuration the output takes: the base, else the first model named."""
        return self.weights[self.recipe.references()[0]]
