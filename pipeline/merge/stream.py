"""One step of a plan: read its operands block by block, compute in float32, round once to the output's type."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.blocks import Block, Grid
from pipeline.merge.changes import Change, Changes
from pipeline.merge.draws import draw_key
from pipeline.merge.methods import method_function
from pipeline.merge.plan import FLOATS, Operand, Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.merge.weights import Weights
from pipeline.sources.tensors import DTYPES, TensorInfo

# So much of a tensor's operands one worker keeps as they are stored, between the passes of a method.
HELD_BYTES = 1 << 27
# Takes (index of the first element, the values [rows, columns] in the output's type).
Sink = Callable[[int, Tensor], None]


def compute(
    plan: Plan, step: Step, seed: int, reader: Reader, scratch: Scratch, sink: Sink, device: str
) -> None:
    """Give the output tensor of `step` to `sink`, in order, in blocks that are valid until the next one.

    Random draws are keyed by the seed, the reference of a model as the recipe names it, and the
    name of the output tensor. Raises InputError naming the tensor where the result holds infinities or NaN.
    """
    inputs = StepOperands(plan, step, reader, scratch, device)
    settings = dict(step.settings)
    if plan.recipe.method.random:
        names = [str(operand.weights.reference) for operand in step.operands]
        settings["keys"] = [draw_key(seed, name, step.name) for name in names]
    apply = method_function(plan.recipe.merge_method)(inputs, **settings)
    dtype = getattr(torch, FLOATS[step.dtype])
    for block in inputs.blocks():
        result = apply(block)
        if block.base is not None:
            result = result.add_(block.base)
        _check_finite(step, result, dtype)
        out = scratch.take("output", (result.shape[0], result.shape[1]), dtype)
        sink(block.first, out.copy_(result))


def check_stored(step: Step, info: TensorInfo, reader: Reader, scratch: Scratch) -> None:
    """Raise InputError where a tensor that is copied holds infinities or NaN."""
    grid, dtype = Grid.of(info.shape), getattr(torch, FLOATS[info.dtype])
    for span in grid.spans():
        raw = scratch.take(("raw", dtype), (len(span), grid.columns), dtype)
        values = scratch.take("checked", (len(span), grid.columns), torch.float32)
        reader.read(info, span.start * grid.columns, raw)
        _check_finite(step, values.copy_(raw), dtype)


@dataclass(frozen=True)
class _Part:
    """One operand being read, and its change by adapters. `on_base`: it lies over the base's own tensor."""

    info: TensorInfo
    change: Change | Changes | None
    on_base: bool


class StepOperands:
    """The operands of one step as a method sees them (pipeline.merge.blocks.Operands)."""

    def __init__(
        self, plan: Plan, step: Step, reader: Reader, scratch: Scratch, device: str = "cpu"
    ) -> None:
        self.step, self.plan = step, plan
        self.grid, self.count = Grid.of(step.shape), len(step.operands)
        self._reader, self._scratch, self._device = reader, scratch, device
        dtype = plan.recipe.dtype
        self._dtype: torch.dtype | None = getattr(torch, dtype) if dtype else None
        self._held: dict[str, Tensor] = {}
        self._read_spans: set[tuple[str, range]] = set()
        self._tables = self._all_tables() if step.rows else {}
        self._parts = [] if step.rows else [self._part(operand) for operand in step.operands]
        self._base = self._part(step.base) if step.base and not step.rows else None
        if plan.recipe.method.passes > 1:
            self._hold([*self._parts, *([self._base] if self._base else [])])

    def blocks(self, spans: Iterable[range] | None = None) -> Iterator[Block]:
        """The blocks of the rows `spans`, in that order; of all rows where it is None."""
        make = self._remapped if self.step.rows else self._read
        for span in self.grid.spans() if spans is None else spans:
            block = make(span)
            yield block if self._device == "cpu" else _moved(block, self._device)

    def _read(self, span: range) -> Block:
        rows, columns = len(span), self.grid.columns
        stack = self._scratch.take("operands", (self.count * rows, columns), torch.float32)
        stack = stack.view(self.count, rows, columns)
        if self._base is None:
            for part, into in zip(self._parts, stack, strict=True):
                self._value(part, span, into)
            return Block(span, stack.unbind(), None, stack)
        base = self._rows(self._base.info, span, "base")
        for part, into in zip(self._parts, stack, strict=True):
            self._difference(part, span, base, into)
        if self._base.change:
            delta = self._base.change.delta(span, base)
            stack.sub_(delta)
            base = base + delta
        return Block(span, stack.unbind(), base, stack)

    def _difference(self, part: _Part, span: range, base: Tensor, into: Tensor) -> None:
        """Operand minus the stored base.

        Over the same checkpoint the adapter's delta is taken as it is, without the rounding of
        adding it to the weights and taking them off again.
        """
        if not part.on_base:
            self._value(part, span, into)
            into.sub_(base)
        elif part.change:
            into.copy_(part.change.delta(span, base))
        else:
            into.zero_()

    def _value(self, part: _Part, span: range, into: Tensor) -> None:
        """The operand itself."""
        self._convert(part.info, span, into)
        if part.change:
            into.add_(part.change.delta(span, into))

    def _rows(self, info: TensorInfo, span: range, purpose: str) -> Tensor:
        """Rows of a checkpoint's tensor as float32 [rows, columns]."""
        shape = (len(span), Grid.of(info.shape).columns)
        return self._convert(info, span, self._scratch.take(purpose, shape, torch.float32))

    def _convert(self, info: TensorInfo, span: range, into: Tensor) -> Tensor:
        """Rows of a checkpoint's tensor, rounded to the recipe's dtype first; returns `into`."""
        raw = self._raw(info, span)
        if self._dtype and raw.dtype != self._dtype:
            raw = raw.to(self._dtype)
        return into.copy_(raw)

    def _hold(self, parts: Sequence[_Part]) -> None:
        """Make room to read each stored tensor once, where all of them together are small."""
        infos = {_key(part.info): part.info for part in parts}
        if sum(info.end - info.start for info in infos.values()) > HELD_BYTES:
            return
        for number, (key, info) in enumerate(infos.items()):
            grid, dtype = Grid.of(info.shape), getattr(torch, DTYPES[info.dtype][1])
            shape = (grid.rows, grid.columns)
            self._held[key] = self._scratch.take(("held", number, dtype), shape, dtype)

    def _raw(self, info: TensorInfo, span: range) -> Tensor:
        """Rows as they are stored."""
        key = _key(info)
        held = self._held.get(key)
        if held is None:
            return self._fresh(info, span)
        rows = held[span.start : span.stop]
        if (key, span) not in self._read_spans:
            self._reader.read(info, span.start * held.shape[1], rows)
            self._read_spans.add((key, span))
        return rows

    def _fresh(self, info: TensorInfo, span: range) -> Tensor:
        columns, dtype = Grid.of(info.shape).columns, getattr(torch, DTYPES[info.dtype][1])
        raw = self._scratch.take(("raw", dtype), (len(span), columns), dtype)
        return self._reader.read(info, span.start * columns, raw)

    def _part(self, operand: Operand) -> _Part:
        weights, base = operand.weights, self.step.base
        on_base = (
            base is not None and operand.name == base.name and weights.same_model(base.weights)
        )
        change = self._change(weights, operand.name)
        return _Part(weights.tensors[operand.name], change, on_base)

    def _change(self, weights: Weights, name: str) -> Change | Changes | None:
        info = weights.tensors[name]
        return weights.change(
            name,
            lambda span: self._rows(info, span, "norms"),
            lambda info, span: self._raw(info, span).to(torch.float32, copy=True),
        )

    def _all_tables(self) -> dict[Weights, Change | Changes | None]:
        """Every model that has the tensor, since rows may come from any of them."""
        name = self.step.name
        models = [w for w in self.plan.weights.values() if name in w.tensors]
        return {weights: self._change(weights, name) for weights in models}

    def _remapped(self, span: range) -> Block:
        """Rows in the order of the output vocabulary."""
        assert self.plan.vocabulary
        values = self.plan.vocabulary.remap(span, list(self._tables), self._gathered)
        operands = [values[operand.weights] for operand in self.step.operands]
        if self.step.base is None:
            return Block(span, [operand.clone() for operand in operands])
        base = values[self.step.base.weights]
        return Block(span, [operand - base for operand in operands], base)

    def _gathered(self, weights: Weights, ids: Tensor) -> Tensor:
        """Rows of a model's tensor by id, zeros for -1; runs of ids are read together."""
        info, change = weights.tensors[self.step.name], self._tables[weights]
        found = torch.zeros(ids.numel(), Grid.of(info.shape).columns)
        for at, run in _runs(ids):
            rows = self._rows(info, run, "gathered")
            found[at : at + len(run)] = rows + change.delta(run, rows) if change else rows
        return found


def _key(info: TensorInfo) -> str:
    return f"{info.file}:{info.start}"


def _runs(ids: Tensor) -> Iterator[tuple[int, range]]:
    """(place in `ids`, rows) for each run of consecutive ids; -1 belongs to none."""
    listed, start = ids.tolist(), 0
    for at in range(1, len(listed) + 1):
        if at == len(listed) or listed[at] != listed[at - 1] + 1 or listed[start] < 0:
            if listed[start] >= 0:
                yield start, range(listed[start], listed[start] + at - start)
            start = at


def _moved(block: Block, device: str) -> Block:
    stack = block.stack.to(device, non_blocking=True)
    base = None if block.base is None else block.base.to(device, non_blocking=True)
    return Block(block.span, stack.unbind(), base, stack)


def _check_finite(step: Step, result: Tensor, dtype: torch.dtype) -> None:
    low, high = torch.aminmax(result)
    limit = torch.finfo(dtype).max
    if not (float(low) >= -limit and float(high) <= limit):
        raise InputError(
            f"{step.name}: the merge has infinite or undefined values. "
            "Either a source has them (`mergegate check` names it), "
            f"or they exceed the range of {FLOATS[step.dtype]}: "
            "set out_dtype: bfloat16 or float32, or lower weight and lambda."
        )
