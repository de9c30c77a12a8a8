"""What an adapter adds to one tensor, as exact float32 rows made when they are asked for.

No adapted model is ever formed. A low-rank change is the product of its factors' rows; only DoRA of a
transposed module looks at the whole tensor first, for the norms of its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.blocks import Grid
from pipeline.sources.adapter import Adapter, AdapterModule
from pipeline.sources.tensors import TensorInfo

# Rows of the checkpoint's own tensor, and of a tensor of the adapter: float32 [rows, columns].
Stored = Callable[[range], Tensor]
Read = Callable[[TensorInfo, range], Tensor]


@dataclass(frozen=True)
class Parts:
    """The adapter's tensors that change one tensor: first a replacement, then the sum of low-rank modules."""

    replacements: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


class Change:
    """What `parts` of `adapter` add to a tensor of the shape `grid`; `where` names the source in messages."""

    def __init__(
        self, adapter: Adapter, parts: Parts, grid: Grid, stored: Stored, read: Read, where: str
    ) -> None:
        self._where, self._read = where, read
        self._replacements = [adapter.tensors[name] for name in parts.replacements]
        replaced = self._replaced if self._replacements else stored
        self._modules = [
            LowRank(adapter, adapter.modules[name], grid, replaced) for name in parts.modules
        ]

    @property
    def of_factors(self) -> bool:
        """Whether it is the product of two factors and nothing else."""
        return not self._replacements and all(module.plain for module in self._modules)

    def put(self, span: range, into: Tensor) -> None:
        """Put what is added to the rows `span` into float32 [rows, columns], where it is `of_factors`."""
        first, *others = self._modules
        first.product(span, into)
        for module in others:
            into += module.product(span)

    def delta(self, span: range, stored: Tensor) -> Tensor:
        """What is added to the rows `span`, whose stored values are `stored`; new float32 [rows, columns]."""
        if not self._replacements and len(self._modules) == 1:
            return self._modules[0].delta(span, stored)
        value = self._replaced(span) if self._replacements else stored
        total = value - stored
        for module in self._modules:
            total += module.delta(span, value)
        return total

    def _replaced(self, span: range) -> Tensor:
        rows = [self._read(info, span) for info in self._replacements]
        if any(not torch.equal(other, rows[0]) for other in rows[1:]):
            raise InputError(
                f"{self._where}, which embeddings and output head share: the adapter saves two "
                "different tensors for it. Untie them in the base, or train one."
            )
        return rows[0]


class Changes:
    """What several adapters add to one tensor: each to the stored values by itself."""

    def __init__(self, changes: Sequence[Change]) -> None:
        self._changes = changes

    def delta(self, span: range, stored: Tensor) -> Tensor:
        """The sum of what each adds to the rows `span`; new float32 [rows, columns]."""
        total = self._changes[0].delta(span, stored)
        for change in self._changes[1:]:
            total += change.delta(span, stored)
        return total


class LowRank:
    """The change of one LoRA module.

    A is [r, in], B [out, r] and the change of the weight [out, in] is s B A (Hu et al. 2021, arXiv 2106.09685,
    section 4.1; s is alpha / r, or alpha / sqrt(r) for rsLoRA, Kalajdzievski 2023, arXiv 2312.03732). With
    `fan_in_fan_out`, and for embeddings [tokens, dim] with A [r, tokens] and B [dim, r], it is the transpose.
    With a magnitude m [out] it is DoRA: m (W + D) / norm(W + D) - W, the norm taken per output (Liu et al. 2024,
    arXiv 2402.09353, equation 5); an output of norm 0 has no direction and stays zero.
    """

    def __init__(self, adapter: Adapter, module: AdapterModule, grid: Grid, stored: Stored) -> None:
        a, b = adapter.read(module.a).float(), adapter.read(module.b).float()
        self._transposed = module.kind == "embedding" or adapter.fan_in_fan_out
        self._left, self._right = (
            (a.T.contiguous(), b.T.contiguous()) if self._transposed else (b, a)
        )
        self._scaling = module.scaling
        self._magnitude = adapter.read(module.magnitude).float() if module.magnitude else None
        self._norms: Tensor | None = None
        if self._magnitude is not None and self._transposed:
            self._norms = self._column_norms(grid, stored)

    def delta(self, span: range, stored: Tensor) -> Tensor:
        """What is added to the rows `span`, whose values without it are `stored`."""
        change = self.product(span)
        if self._magnitude is None:
            return change
        if self._norms is not None:
            return dora_delta(stored, change, self._magnitude.view(1, -1), self._norms)
        norms = torch.linalg.vector_norm(stored + change, dim=1, keepdim=True)
        magnitude = self._magnitude.view(-1, 1)[span.start : span.stop]
        return dora_delta(stored, change, magnitude, norms)

    @property
    def plain(self) -> bool:
        """Whether it is LoRA, not DoRA."""
        return self._magnitude is None

    def product(self, span: range, into: Tensor | None = None) -> Tensor:
        """s B A, in the rows `span`."""
        return torch.mm(self._left[span.start : span.stop], self._right, out=into).mul_(
            self._scaling
        )

    def _column_norms(self, grid: Grid, stored: Stored) -> Tensor:
        total = torch.zeros(grid.columns, dtype=torch.float64)
        for span in grid.spans():
            total += (self.product(span) + stored(span)).double().square().sum(0)
        return total.sqrt().float().view(1, -1)


def dora_delta(stored: Tensor, delta: Tensor, magnitude: Tensor, norms: Tensor) -> Tensor:
    """m (W + D) / norm(W + D) - W for rows W of `stored` and D of `delta`, which is changed.

    `magnitude` and `norms` are [rows, 1], or [1, columns] where outputs are columns.
    """
    moved = delta.add_(stored)
    return moved.mul_(magnitude / torch.where(norms == 0, 1.0, norms)).sub_(stored)


def misfits(
    adapter: Adapter, parts: Parts, shape: Sequence[int]
) -> list[tuple[str, tuple[int, ...]]]:
    """(adapter tensor or module, the shape that it is made for) for each part that does not fit `shape`."""
    wanted = tuple(shape)
    found = [(name, adapter.tensors[name].shape) for name in parts.replacements]
    for name in parts.modules:
        module = adapter.modules[name]
        outer, inner = adapter.tensors[module.b].shape[0], adapter.tensors[module.a].shape[1]
        transposed = module.kind == "embedding" or adapter.fan_in_fan_out
        found.append((name, (inner, outer) if transposed else (outer, inner)))
    return [(name, made_for) for name, made_for in found if made_for != wanted]
