"""The compiled loops (pipeline.merge.kernels) as functions of a block's operands, for methods to use where they may.

numba is imported here alone, and only by a merge that is large enough to gain from it. Every function has torch
code that it stands for, used on other devices and for small merges; tests hold both to the same bits.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.merge.blocks import Stored

# Below so many elements to compute, importing numba takes longer than it saves; below so many times that for methods
# other than these, where torch needs a few operations for an element too (1.1 billion take as long either way).
WORTH_ELEMENTS = 1 << 27
_WORTH_SIMPLE = 32
_HEAVY = {
    "arcee_fusion",
    "breadcrumbs",
    "breadcrumbs_ties",
    "dare_linear",
    "dare_ties",
    "sce",
    "ties",
}
_TYPES = (torch.bfloat16, torch.float32)  # that the loops can read and write
_KEEP_ALL = 1 << 32


def worth_it(elements: int, merge_method: str) -> bool:
    """Whether a merge that computes so many elements gains from the loops, and numba is there for them.

    A merge without them gives the same bits.
    """
    needed = WORTH_ELEMENTS * (1 if merge_method in _HEAVY else _WORTH_SIMPLE)
    return elements >= needed and importlib.util.find_spec("numba") is not None


def prepare(count: int, stored: torch.dtype, made: bool, out: torch.dtype) -> None:
    """Import numba and load or compile every loop, for `count` operands of a type over a base of type `stored`.

    `made`: whether adapters make the operands, in float32. It takes one second, or five on a machine that has never
    done it, in which torch can work already.
    """
    base = torch.ones(2, dtype=stored)
    operands = Stored([base.float() if made else base] * count, base, minus=not made)
    between(operands, 0, 0, 1, keep=True)
    finish(SignedSum([1.0] * count).of(operands, 0), base, torch.empty(2, dtype=out))


def readable(*types: torch.dtype) -> bool:
    """Whether the loops can read and write these types."""
    return all(one in _TYPES for one in types)


def fits(*tensors: Tensor | None) -> bool:
    """Whether the loops can work on these tensors."""
    return all(t is None or (t.device.type == "cpu" and readable(t.dtype)) for t in tensors)


def between(
    stored: Stored, index: int, low: int, high: int, keep: bool
) -> tuple[int, int, npt.NDArray[np.int32] | None]:
    """Magnitudes of an operand, as bits: (how many are `high` or more, how many in [low, high), these minus `low`).

    The last is None without `keep`.
    """
    source = _array(stored.tensors[index])
    kept = np.empty(source.size + 1 if keep else 1, dtype=np.uint32)
    bounds = np.uint32(low), np.uint32(high - low)
    above, inside = _kernels().between(source, _base(stored), stored.minus, *bounds, keep, kept)
    return int(above), int(inside), kept[:inside].view(np.int32).copy() if keep else None


class SignedSum:
    """What a method does to each operand of a tensor before they are summed, and how they are summed.

    `factors`: of the operands. Then, in this order: `trim`, `drop`, `elect`, each at most once.
    """

    def __init__(self, factors: Sequence[float]) -> None:
        count = len(factors)
        self._factors = np.array(factors, dtype=np.float32)
        self._limits = np.full((count, 2), -1.0, dtype=np.float32)
        self._lasts = [-1] * count
        self._keys = np.zeros(count, dtype=np.uint64)
        self._keeps = np.full(count, _KEEP_ALL, dtype=np.uint64)
        self._divisors = np.ones(count, dtype=np.float32)
        self._weights, self._elect = self._factors, False
        self._vanishing, self._scale = np.float32(-1), np.float32(1)

    def trim(self, limits: Sequence[tuple[float, float]], lasts: Sequence[int]) -> SignedSum:
        """Cut magnitudes of limits[0] or less up to the flat index `last`, of limits[1] or less from there on."""
        self._limits, self._lasts = np.array(limits, dtype=np.float32), list(lasts)
        return self

    def drop(self, keys: Sequence[int], density: Sequence[float], rescale: bool) -> SignedSum:
        """Keep an entry where its draw says so; with `rescale` divided by the density."""
        self._keys = np.array(keys, dtype=np.uint64)
        self._keeps = np.array([round(d * _KEEP_ALL) for d in density], dtype=np.uint64)
        if rescale:
            self._divisors = np.array(density, dtype=np.float32)
        return self

    def elect(self, weight: Sequence[float], vanishing: float | None, scale: float) -> SignedSum:
        """Sum what has the elected sign; divided by its `weight` unless `vanishing` is None, times `scale`."""
        self._elect, self._weights = True, np.array(weight, dtype=np.float32)
        self._vanishing = np.float32(-1 if vanishing is None else vanishing)
        self._scale = np.float32(scale)
        return self

    def of(self, stored: Stored, first: int) -> Tensor:
        """The sum, float32 [rows, columns]; `first` is the flat index of the block's first entry."""
        tensors = stored.tensors
        result = torch.empty(tensors[0].shape, dtype=torch.float32)
        size = result.numel()
        splits = [min(max(last + 1 - first, 0), size) for last in self._lasts]
        _kernels().signed_sum(
            tuple(_array(tensor) for tensor in tensors),
            _base(stored),
            stored.minus,
            self._limits,
            np.array(splits, dtype=np.int64),
            self._keys,
            self._keeps,
            self._divisors,
            self._factors,
            self._elect,
            self._weights,
            self._vanishing,
            self._scale,
            first,
            _array(result),
        )
        return result


def finish(result: Tensor, base: Tensor | None, into: Tensor) -> bool:
    """`into` = result + base, rounded once to its type; false, and of no use, where that is not finite or too large."""
    limit = np.float32(torch.finfo(into.dtype).max)
    known = _array(result if base is None else base)
    done = _kernels().finish(_array(result), known, base is not None, limit, _array(into))
    return bool(done)


def _kernels() -> Any:
    return importlib.import_module("pipeline.merge.kernels")


def _base(stored: Stored) -> npt.NDArray[Any]:
    """The base where operands are differences; else any array, which is not looked at."""
    return _array(stored.base if stored.minus and stored.base is not None else stored.tensors[0])


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    flat = tensor.reshape(-1)
    if tensor.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return flat.numpy()
