"""One step of a plan: read its operands, compute in float32, round once to the output's type."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.draws import draw_key
from pipeline.merge.methods import method_function
from pipeline.merge.plan import FLOATS, Operand, Plan, Step
from pipeline.merge.weights import Weights


def compute(plan: Plan, step: Step, seed: int) -> Tensor:
    """The output tensor of `step`, in its dtype and shape.

    Random draws are keyed by the seed, the reference of a model as the recipe names it, and the
    name of the output tensor. Raises InputError naming the tensor where the result holds infinities or NaN.
    """
    if step.copied:
        return step.template.weights.model.read(step.template.name)
    inputs = _Inputs(plan, step)
    settings = dict(step.settings)
    if plan.recipe.method.random:
        names = [str(operand.weights.reference) for operand in step.operands]
        settings["keys"] = [draw_key(seed, name, step.name) for name in names]
    merged = method_function(plan.recipe.merge_method)(inputs.operands(), **settings)
    if step.base:
        merged = inputs.base() + merged
    result = merged.to(getattr(torch, FLOATS[step.dtype]))
    _check_finite(step, result)
    return result


class _Inputs:
    """What the method of one step gets. Holds the base's tensor, so that it is read once."""

    def __init__(self, plan: Plan, step: Step) -> None:
        self.step, self.plan = step, plan
        recipe = plan.recipe
        self.dtype: torch.dtype | None = getattr(torch, recipe.dtype) if recipe.dtype else None
        self._rows = self._remapped() if step.rows else {}
        self._base = self._parts(step.base) if step.base and not step.rows else None

    def base(self) -> Tensor:
        """The base's own value."""
        assert self.step.base
        if self.step.rows:
            return self._rows[self.step.base.weights]
        assert self._base
        stored, delta = self._base
        return stored if delta is None else stored + delta

    def operands(self) -> list[Tensor]:
        """The tensors of the models, or their differences from the base."""
        if self.step.rows:
            values = [self._rows[operand.weights] for operand in self.step.operands]
            return [v - self.base() for v in values] if self.step.base else values
        if self.step.base:
            return [self._difference(operand) for operand in self.step.operands]
        return [self._value(operand) for operand in self.step.operands]

    def _value(self, operand: Operand) -> Tensor:
        stored, delta = self._parts(operand)
        return stored if delta is None else stored + delta

    def _difference(self, operand: Operand) -> Tensor:
        """Operand minus base.

        Over the same checkpoint the adapter's delta is taken as it is, without the rounding of
        adding it to the weights and taking them off again.
        """
        assert self.step.base
        assert self._base
        base_stored, base_delta = self._base
        base = self.step.base
        if operand.name == base.name and operand.weights.same_model(base.weights):
            delta = operand.weights.delta(operand.name, base_stored)
            difference = torch.zeros_like(base_stored) if delta is None else delta
        else:
            difference = self._value(operand) - base_stored
        return difference if base_delta is None else difference - base_delta

    def _parts(self, operand: Operand) -> tuple[Tensor, Tensor | None]:
        """The stored tensor and the adapter's delta, cut to the rows of the output."""
        stored = operand.weights.stored(operand.name, self.dtype)
        delta = operand.weights.delta(operand.name, stored)
        if stored.shape == self.step.shape:
            return stored, delta
        rows = self.step.shape[0]
        return stored[:rows], None if delta is None else delta[:rows]

    def _remapped(self) -> dict[Weights, Tensor]:
        """Every model's tensor with its rows in the order of the output vocabulary."""
        assert self.plan.vocabulary
        values: dict[Weights, Tensor] = {}
        for weights in self.plan.weights.values():
            if self.step.name in weights.tensors:
                stored = weights.stored(self.step.name, self.dtype)
                delta = weights.delta(self.step.name, stored)
                values[weights] = stored if delta is None else stored + delta
        return self.plan.vocabulary.remap(values)


def _check_finite(step: Step, result: Tensor) -> None:
    if not torch.isfinite(result).all():
        raise InputError(
            f"{step.name}: the merge has infinite or undefined values. "
            "Either a source has them (`mergegate check` names it), "
            f"or they exceed the range of {FLOATS[step.dtype]}: "
            "set out_dtype: bfloat16 or float32, or lower weight and lambda."
        )
