"""The one registry of merge methods: a name of `pipeline.recipe.METHODS` to its function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.merge.blocks import Block, Held, Operands
from pipeline.recipe.methods import METHODS
from pipeline.strict import nearest

# What a method makes of one block: float32 [rows, columns].
Apply = Callable[[Block], Tensor]
# (operands, **settings) -> Apply. The function reads the operands as often as it needs to learn what concerns the
# tensor as a whole (thresholds, angles); the Apply that it returns sees one block and nothing else.
# Settings are the arguments that the method's MethodSpec names: a tuple with one value per operand where a parameter
# is `per_model`, else one value. A `random` method gets `keys` besides: one 64-bit key per operand.
MethodFunction = Callable[..., Apply]

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


def apply_method(
    name: str, tensors: Sequence[Tensor], *, base: Tensor | None = None, **settings: Any
) -> Tensor:
    """The method on tensors in memory: float32 of one shape in, a new one of that shape out.

    `tensors` are what the MethodSpec calls operands: values, or differences from `base`; `base` is
    given to methods that look at it.
    """
    operands: Operands = Held(tensors, base)
    apply = method_function(name)(operands, **settings)
    result = torch.empty(operands.grid.rows, operands.grid.columns)
    for block in operands.blocks():
        result[block.span.start : block.span.stop] = apply(block)
    return result.reshape(tensors[0].shape)
