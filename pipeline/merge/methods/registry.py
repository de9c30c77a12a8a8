"""The one registry of merge methods: a name of `pipeline.recipe.METHODS` to its function."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pipeline.recipe.methods import METHODS
from pipeline.strict import nearest

# (operands, **settings) -> merged tensor; settings are the arguments that the method's MethodSpec
# names: a tuple with one value per operand where a parameter is `per_model`, else one value.
# A `random` method gets `keys` besides: one 64-bit key per operand (pipeline.merge.draws).
MethodFunction = Callable[..., Tensor]

_FUNCTIONS: dict[str, MethodFunction] = {}


def method(name: str) -> Callable[[MethodFunction], MethodFunction]:
    """Register a function as the method `name` and return it unchanged."""
    if name not in METHODS:
        raise ValueError(f"{name!r} has no entry in METHODS.{nearest(name, METHODS)}")

    def register(function: MethodFunction) -> MethodFunction:
        if name in _FUNCTIONS:
            raise ValueError(f"{name!r} is already registered by {_FUNCTIONS[name].__module__}")
        _FUNCTIONS[name] = function
        return function

    return register


def method_function(name: str) -> MethodFunction:
    """The function of a method. Raises ValueError naming the nearest one."""
    if name not in _FUNCTIONS:
        raise ValueError(f"{name!r} is not a merge method.{nearest(name, _FUNCTIONS)}")
    return _FUNCTIONS[name]
