"""A tensor in blocks: whole rows, as many as stay in the processor's cache.

The cut depends on the shape alone, never on threads or memory, so that a sum over blocks has the same bits
everywhere. A tensor of one dimension has rows of one element; of three or more, the first dimensions
count rows together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

# float32 elements of one block: 1 MB, a few of which fit into a core's share of the cache.
BLOCK_ELEMENTS = 1 << 18


@dataclass(frozen=True)
class Grid:
    """A tensor as `rows` rows of `columns` elements."""

    rows: int
    columns: int

    @classmethod
    def of(cls, shape: Sequence[int]) -> Grid:
        """The grid of a shape; a scalar is one row of one element."""
        if len(shape) < 2:
            return cls(math.prod(shape), 1)
        return cls(math.prod(shape[:-1]), shape[-1])

    @property
    def elements(self) -> int:
        """The number of elements."""
        return self.rows * self.columns

    def spans(self) -> Iterator[range]:
        """The rows of each block, in order. A row that is longer than a block is a block of its own."""
        if self.elements:
            step = max(1, BLOCK_ELEMENTS // self.columns)
            for first in range(0, self.rows, step):
                yield range(first, min(first + step, self.rows))


@dataclass(frozen=True)
class Stored:
    """What the operands of a block are made of: a tensor each, [rows, columns] of one type, as it is stored.

    An operand is the tensor itself; with `minus` it is the tensor minus `base`.
    """

    tensors: Sequence[Tensor]
    base: Tensor | None = None
    minus: bool = False


class Block:
    """A run of rows of every operand of a method.

    Valid until the next block is asked for. `fused`: whether the compiled loops (pipeline.merge.fused) may work
    on `stored`; everything else is for torch, and made of it when it is asked for.
    """

    def __init__(
        self, span: range, stored: Stored, *, fused: bool = False, into: Tensor | None = None
    ) -> None:
        """`into`: memory for the operands as float32 [count, rows, columns]."""
        self.span, self.stored, self.fused, self._into = span, stored, fused, into

    @cached_property
    def stack(self) -> Tensor:
        """All operands, float32 [count, rows, columns]; whoever has the block may change them."""
        tensors, base = self.stored.tensors, self.base if self.stored.minus else None
        shape = (len(tensors), *tensors[0].shape)
        stack = torch.empty(shape, device=tensors[0].device) if self._into is None else self._into
        for tensor, operand in zip(tensors, stack, strict=True):
            operand.copy_(tensor)
        return stack if base is None else stack.sub_(base)

    @cached_property
    def operands(self) -> Sequence[Tensor]:
        """The operands, float32 [rows, columns] each; whoever has the block may change them."""
        return self.stack.unbind()

    @cached_property
    def base(self) -> Tensor | None:
        """The base's own rows, float32, where there is one: not a difference, and not to be changed."""
        return None if self.stored.base is None else self.stored.base.float()

    @property
    def first(self) -> int:
        """The flat index in the tensor of the block's first element."""
        return self.span.start * self.stored.tensors[0].shape[1]


class Operands(Protocol):
    """What a method is given for one tensor: `count` operands, to be read as often as it needs."""

    @property
    def grid(self) -> Grid:
        """The shape that all operands have."""

    @property
    def count(self) -> int:
        """The number of operands."""

    def blocks(self, spans: Iterable[range] | None = None) -> Iterator[Block]:
        """The blocks of the rows `spans`, in that order; of all rows where it is None."""


@dataclass(frozen=True)
class Held:
    """Operands that are in memory: float32 tensors of one shape, and the base where there is one."""

    tensors: Sequence[Tensor]
    base: Tensor | None = None

    @property
    def grid(self) -> Grid:
        """The shape that all operands have."""
        return Grid.of(self.tensors[0].shape)

    @property
    def count(self) -> int:
        """The number of operands."""
        return len(self.tensors)

    def blocks(self, spans: Iterable[range] | None = None) -> Iterator[Block]:
        """The blocks, as copies."""
        grid = self.grid
        tables = [tensor.reshape(grid.rows, grid.columns) for tensor in self.tensors]
        base = None if self.base is None else self.base.reshape(grid.rows, grid.columns)
        for span in grid.spans() if spans is None else spans:
            rows = slice(span.start, span.stop)
            yield Block(
                span,
                Stored([table[rows] for table in tables], None if base is None else base[rows]),
            )
