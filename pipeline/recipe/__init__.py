"""A merge recipe in mergekit's YAML grammar, parsed once into frozen types.

Promises: nothing is guessed (an unknown key, a missing parameter, a number out of range are errors,
all reported together), and nothing is opened but the recipe file itself. Knows the name and the
parameters of every merge method (`METHODS`) but none of their arithmetic, so that it imports
without torch.
"""

from pipeline.recipe.document import load_recipe
from pipeline.recipe.methods import METHODS, MethodSpec, ParameterSpec
from pipeline.recipe.parameters import Conditional, Parameter, Parameters, value_at
from pipeline.recipe.parse import parse_recipe
from pipeline.recipe.types import (
    Recipe,
    Slice,
    SliceSource,
    Tokenizer,
    TokenRow,
    TokenRule,
)

__all__ = [
    "METHODS",
    "Conditional",
    "MethodSpec",
    "Parameter",
    "ParameterSpec",
    "Parameters",
    "Recipe",
    "Slice",
    "SliceSource",
    "TokenRow",
    "TokenRule",
    "Tokenizer",
    "load_recipe",
    "parse_recipe",
    "value_at",
]
