"""One step of a plan: read its operands block by block, compute in float32, round once to the output's type."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge import fused
from pipeline.merge.blocks import Block, Grid
from pipeline.merge.draws import draw_key
from pipeline.merge.methods import method_function
from pipeline.merge.operands import StepOperands
from pipeline.merge.plan import FLOATS, Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.sources.tensors import TensorInfo

# Takes (index of the first element, the values [rows, columns] in the output's type).
Sink = Callable[[int, Tensor], None]


def compute(
    plan: Plan,
    step: Step,
    seed: int,
    reader: Reader,
    scratch: Scratch,
    sink: Sink,
    device: str = "cpu",
    fused_loops: bool = False,
) -> None:
    """Give the output tensor of `step` to `sink`, in order, in blocks that are valid until the next one.

    Random draws are keyed by the seed, the reference of a model as the recipe names it, and the
    name of the output tensor. Raises InputError naming the tensor where the result holds infinities or NaN.
    """
    inputs = StepOperands(plan, step, reader, scratch, device, fused_loops)
    settings = dict(step.settings)
    if plan.recipe.method.random:
        names = [str(operand.weights.reference) for operand in step.operands]
        settings["keys"] = [draw_key(seed, name, step.name) for name in names]
    apply = method_function(plan.recipe.merge_method)(inputs, **settings)
    dtype = getattr(torch, FLOATS[step.dtype])
    for block in inputs.blocks():
        out = scratch.take("output", (len(block.span), inputs.grid.columns), dtype)
        _finish(step, block, apply(block), out)
        sink(block.first, out)


def _finish(step: Step, block: Block, result: Tensor, out: Tensor) -> None:
    """`out` = the result, added to the base where there is one, in the output's type."""
    if block.fused and fused.fits(out):
        if not fused.finish(result, block.stored.base, out):
            _not_finite(step, block)
        return
    if block.base is not None:
        result = result.add_(block.base)
    _check_finite(step, result, out.dtype, block)
    out.copy_(result)


def check_stored(step: Step, info: TensorInfo, reader: Reader, scratch: Scratch) -> None:
    """Raise InputError where a tensor that is copied holds infinities or NaN."""
    grid, dtype = Grid.of(info.shape), getattr(torch, FLOATS[info.dtype])
    for span in grid.spans():
        shape = len(span), grid.columns
        raw = reader.view(info, span.start * grid.columns, shape, "raw")
        values = scratch.take("checked", shape, torch.float32)
        _check_finite(step, values.copy_(raw), dtype)


def _check_finite(
    step: Step, result: Tensor, dtype: torch.dtype, block: Block | None = None
) -> None:
    low, high = torch.aminmax(result)
    limit = torch.finfo(dtype).max
    if not (float(low) >= -limit and float(high) <= limit):
        _not_finite(step, block)


def _not_finite(step: Step, block: Block | None) -> NoReturn:
    """Raise InputError, naming the source at fault where one has such values itself."""
    if block is not None:
        tensors = [*block.stored.tensors, block.stored.base]
        operands = [*step.operands, step.base]
        for operand, tensor in zip(operands, tensors, strict=True):
            if operand and tensor is not None and not bool(tensor.isfinite().all()):
                raise InputError(
                    f"{operand.weights.reference}: {operand.name} has infinite or undefined values, "
                    "and so would the merge. Take another copy of it."
                )
    raise InputError(
        f"{step.name}: the merge has infinite or undefined values; they exceed the range of "
        f"{FLOATS[step.dtype]}: set out_dtype: bfloat16 or float32, or lower weight and lambda."
    )
