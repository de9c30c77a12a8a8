"""A tensor in blocks: whole rows, as many as stay in the processor's cache.

The cut depends on the shape alone, never on threads or memory, so that a sum over blocks has the same bits
everywhere. A tensor of one dimension has rows of one element; of three or more, the first dimensions
count rows together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
class Block:
    """A run of rows of every operand of a method, float32 [rows, columns] each.

    The tensors are valid until the next block is asked for, and whoever has the block may change
    them. `base` is the base's own rows where there is one: not a difference, and not to be changed.
    `together` is the memory of all operands as [count, rows, columns], where they lie so.
    """

    span: range
    operands: Sequence[Tensor]
    base: Tensor | None = None
    together: Tensor | None = None

    @property
    def stack(self) -> Tensor:
        """All operands as one tensor [count, rows, columns], so that an operation is called once for all."""
        return torch.stack(list(self.operands)) if self.together is None else self.together

    @property
    def first(self) -> int:
        """The flat index in the tensor of the block's first element."""
        return self.span.start * self.operands[0].shape[1]


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
                [table[rows].clone() for table in tables],
                None if base is None else base[rows],
            )
