"""The operands of one step, block by block, as a method sees them: stored, changed by adapters, or by vocabulary."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.merge import fused
from pipeline.merge.blocks import Block, Grid, Stored
from pipeline.merge.changes import Change, Changes
from pipeline.merge.plan import Operand, Plan, Step
from pipeline.merge.reading import Reader, Scratch
from pipeline.merge.weights import Weights
from pipeline.sources.tensors import TensorInfo

# So much of the differences that adapters make does one worker keep between the passes of a method. Stored
# tensors are read again in each: that is as fast from the page cache, block by block, as from memory of our own.
MADE_BYTES = 3 << 26


@dataclass(frozen=True)
class _Part:
    """One operand being read, and its change by adapters. `on_base`: it lies over the base's own tensor."""

    info: TensorInfo
    change: Change | Changes | None
    on_base: bool


class StepOperands:
    """The operands of one step as a method sees them (pipeline.merge.blocks.Operands)."""

    def __init__(
        self,
        plan: Plan,
        step: Step,
        reader: Reader,
        scratch: Scratch,
        device: str = "cpu",
        fused_loops: bool = False,
    ) -> None:
        """`fused_loops`: whether methods may use pipeline.merge.fused; the bits are the same."""
        self.step, self.plan = step, plan
        self.grid, self.count = Grid.of(step.shape), len(step.operands)
        self._reader, self._scratch, self._device = reader, scratch, device
        dtype = plan.recipe.dtype
        self._dtype: torch.dtype | None = getattr(torch, dtype) if dtype else None
        self._fused = fused_loops and device == "cpu"
        self._tables = self._all_tables() if step.rows else {}
        self._parts = [] if step.rows else [self._part(operand) for operand in step.operands]
        self._base = self._part(step.base) if step.base and not step.rows else None
        self._thin = self._thin_changes()
        self._made = self._room_for_made() if plan.recipe.method.passes > 1 else None
        self._made_spans: set[range] = set()

    def blocks(self, spans: Iterable[range] | None = None) -> Iterator[Block]:
        """The blocks of the rows `spans`, in that order; of all rows where it is None."""
        make = self._remapped if self.step.rows else self._read
        for span in self.grid.spans() if spans is None else spans:
            block = make(span)
            yield block if self._device == "cpu" else _moved(block, self._device)

    def _read(self, span: range) -> Block:
        parts = [*self._parts, self._base] if self._base else self._parts
        if any(part.change for part in parts):
            return self._changed(span)
        tensors = [self._raw(part.info, span, slot) for slot, part in enumerate(self._parts)]
        base = self._raw(self._base.info, span, "base") if self._base else None
        return self._block(span, Stored(tensors, base, minus=base is not None))

    def _changed(self, span: range) -> Block:
        """Where adapters change an operand or the base, operands are made in float32 before a method sees them."""
        stack = self._stack(span)
        if self._base is None:
            for part, into in zip(self._parts, stack, strict=True):
                self._value(part, span, into)
            return self._block(span, Stored(stack.unbind()))
        stored = self._raw(self._base.info, span, "base")
        if self._made is not None and span in self._made_spans:
            return self._block(span, Stored(stack.unbind(), stored))
        self._made_spans.add(span)
        if self._thin is not None:
            for change, into in zip(self._thin, stack, strict=True):
                change.put(span, into)
            return self._block(span, Stored(stack.unbind(), stored))
        base = self._scratch.take("base", (len(span), self.grid.columns), torch.float32)
        base.copy_(stored)
        for part, into in zip(self._parts, stack, strict=True):
            self._difference(part, span, base, into)
        if self._base.change:
            delta = self._base.change.delta(span, base)
            stack.sub_(delta)
            stored = base + delta
        return self._block(span, Stored(stack.unbind(), stored))

    def _stack(self, span: range) -> Tensor:
        """Memory for the operands as float32 [count, rows, columns]."""
        if self._made is not None:
            return self._made[:, span.start : span.stop]
        rows, columns = len(span), self.grid.columns
        stack = self._scratch.take("operands", (self.count * rows, columns), torch.float32)
        return stack.view(self.count, rows, columns)

    def _block(self, span: range, stored: Stored) -> Block:
        tensors = stored.tensors
        alike = all(tensor.dtype == tensors[0].dtype for tensor in tensors)
        into = self._scratch.take(
            "stack", (self.count * len(span), self.grid.columns), torch.float32
        )
        return Block(
            span,
            stored,
            fused=self._fused and alike and fused.fits(*tensors, stored.base),
            into=into.view(self.count, len(span), self.grid.columns),
        )

    def _thin_changes(self) -> list[Change] | None:
        """The operands' changes, where each is the base plus a product of factors, for which the base's values do not
        matter."""
        changes = [part.change for part in self._parts if part.on_base]
        thin = [one for one in changes if isinstance(one, Change) and one.of_factors]
        plain_base = self._base is not None and not self._base.change
        return thin if plain_base and 0 < len(thin) == len(self._parts) else None

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
        return into.copy_(self._raw(info, span, "raw"))

    def _raw(self, info: TensorInfo, span: range, slot: Hashable) -> Tensor:
        """Rows in the recipe's dtype."""
        raw = self._stored(info, span, slot)
        return raw if self._dtype in (None, raw.dtype) else raw.to(self._dtype)

    def _room_for_made(self) -> Tensor | None:
        """Memory for what adapters make of the whole tensor, [count, rows, columns], where it is not too much."""
        made = made_bytes(self.step)
        if self.step.rows or not self._base or self._base.change or not 0 < made <= MADE_BYTES:
            return None
        shape = (self.count * self.grid.rows, self.grid.columns)
        made_of = self._scratch.take("made", shape, torch.float32)
        return made_of.view(self.count, self.grid.rows, self.grid.columns)

    def _stored(self, info: TensorInfo, span: range, slot: Hashable) -> Tensor:
        """Rows as they are stored; valid until the slot is used again."""
        columns = Grid.of(info.shape).columns
        return self._reader.view(info, span.start * columns, (len(span), columns), slot)

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
            lambda info, span: self._stored(info, span, "change").to(torch.float32, copy=True),
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
        base = values[self.step.base.weights] if self.step.base else None
        return self._block(span, Stored(operands, base, minus=base is not None))

    def _gathered(self, weights: Weights, ids: Tensor) -> Tensor:
        """Rows of a model's tensor by id, zeros for -1; runs of ids are read together."""
        info, change = weights.tensors[self.step.name], self._tables[weights]
        found = torch.zeros(ids.numel(), Grid.of(info.shape).columns)
        for at, run in _runs(ids):
            rows = self._rows(info, run, "gathered")
            found[at : at + len(run)] = rows + change.delta(run, rows) if change else rows
        return found


def _runs(ids: Tensor) -> Iterator[tuple[int, range]]:
    """(place in `ids`, rows) for each run of consecutive ids; -1 belongs to none."""
    listed, start = ids.tolist(), 0
    for at in range(1, len(listed) + 1):
        if at == len(listed) or listed[at] != listed[at - 1] + 1 or listed[start] < 0:
            if listed[start] >= 0:
                yield start, range(listed[start], listed[start] + at - start)
            start = at


def _moved(block: Block, device: str) -> Block:
    stored = block.stored
    base = None if stored.base is None else stored.base.to(device, non_blocking=True)
    tensors = [tensor.to(device, non_blocking=True) for tensor in stored.tensors]
    return Block(block.span, Stored(tensors, base, stored.minus))


def made_bytes(step: Step) -> int:
    """Float32 differences of a step that adapters make rather than files hold; 0 where there are none."""
    adapted = any(operand.weights.adapted(operand.name) for operand in step.operands)
    return 4 * len(step.operands) * step.spec.elements if adapted and step.base else 0
