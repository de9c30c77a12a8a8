"""The effective rank of a difference: over how many directions it spreads.

erank(D) = exp(-sum p ln p), p = s / sum(s) over the singular values s (Roy, Vetterli: The effective rank: A
measure of effective dimensionality. EUSIPCO 2007, section 2). It is 1 for a matrix of rank one and min(rows,
columns) where all singular values are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pipeline.merge.blocks import Grid
from pipeline.merge.plan import Operand, Step

# Test vectors that span a sketch, those that probe what it misses, and the seed that both are drawn from.
SKETCH, PROBES, SEED = 64, 16, 0
# Of a sum, so much may be rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Rest:
    """Singular values that are known by sums alone: how many, the sum of their squares and of fourth powers.

    The squares are taken to be gamma-distributed with that mean and variance. It has the two ends right: equal
    values (no variance), and few values that matter among many that do not; noise (their squares follow
    Marchenko and Pastur) comes out a tenth too high.
    """

    count: int
    squares: float
    fourths: float

    @property
    def _shape(self) -> float:
        """The gamma distribution's shape: 1 / (variance by squared mean)."""
        spread = self.count * self.fourths / self.squares**2 - 1
        return 1 / min(max(spread, 1e-3), self.count)

    @property
    def sum(self) -> float:
        """The sum of the values: E sqrt(x) = sqrt(theta) Gamma(k + 1/2) / Gamma(k)."""
        k = self._shape
        mean = math.exp(math.lgamma(k + 0.5) - math.lgamma(k)) / math.sqrt(k)
        return self.count * mean * math.sqrt(self.squares / self.count)

    @property
    def mean_log(self) -> float:
        """sum(s ln s) / sum(s): E[sqrt(x) ln sqrt(x)] / E sqrt(x) = (digamma(k + 1/2) + ln theta) / 2."""
        k = self._shape
        digamma = float(torch.digamma(torch.tensor(k + 0.5, dtype=torch.float64)))
        return (digamma + math.log(self.squares / self.count / k)) / 2


def effective_rank(values: Tensor, rest: Rest | None = None) -> float | None:
    """The effective rank of the singular values `values` (float64) and `rest`. None where all are 0."""
    more = rest.sum if rest else 0.0
    total = float(values.sum()) + more
    if total == 0:
        return None
    entropy = float(torch.special.entr(values / total).sum())
    if rest:
        entropy += more / total * (math.log(total) - rest.mean_log)
    return math.exp(entropy)


def known_values(step: Step, operand: Operand) -> Tensor | None:
    """The singular values of a difference that is one LoRA product s B A, from its factors; else None.

    With B = Q R and A transposed = P S, those of B A are those of R S transposed [r, r]. float64.
    """
    adapter, base = operand.weights.adapter, step.base
    path = operand.name.removesuffix(".weight")
    if adapter is None or base is None or step.rows or path not in adapter.modules:
        return None
    module = adapter.modules[path]
    over_base = operand.name == base.name and operand.weights.same_model(base.weights)
    if not over_base or base.adapted or module.magnitude or not _alone(operand):
        return None
    left, right = adapter.read(module.b).double(), adapter.read(module.a).double()
    core = _triangle(left) @ _triangle(right.T).T
    return torch.linalg.svdvals(core).mul_(abs(module.scaling))


def _alone(operand: Operand) -> bool:
    """Whether nothing but the module of its name changes the tensor: no replacement, no tied head."""
    adapter, known = operand.weights.adapter, operand.weights.tensors
    assert adapter
    changed = (*adapter.replaced, *(f"{module}.weight" for module in adapter.modules))
    return operand.name not in adapter.replaced and all(name in known for name in changed)


def _triangle(matrix: Tensor) -> Tensor:
    return torch.linalg.qr(matrix, mode="r").R


class Sketch:
    """The singular values of a matrix D that passes once, in blocks of whole rows: the leading ones, sums of the rest.

    With a Gaussian test matrix W [columns, SKETCH] it keeps Z = D' D W and W' D' D W, which are sums over rows. For
    Q = orth(D W), the singular values of Q' D (Halko, Martinsson, Tropp: Finding Structure with Randomness. SIAM
    Review 53 (2), 2011, algorithms 4.1 and 5.1) are those of F = Z (W' D' D W)^(-1/2), so that the second pass of
    those algorithms is not needed. None is above D's own. The squares of the rest sum to those of D less those
    of F; their squares in turn to the mean of |(D' D - F F') g|^2 over Gaussian vectors g (Hutchinson's
    estimator), of which there are PROBES more. Memory: columns * (SKETCH + PROBES) float64.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid, self._test = grid, _test_matrix(grid.columns)
        width = self._test.shape[1]
        self._image = torch.zeros(grid.columns, width, dtype=torch.float64)
        self._gram = torch.zeros(width, width, dtype=torch.float64)
        self._energy = 0.0

    def see(self, rows: Tensor) -> None:
        """The next rows, float32 [rows, columns]."""
        exact = rows.double()
        product = exact @ self._test
        self._image.addmm_(exact.T, product)
        self._gram.addmm_(product.T, product)
        self._energy += float(exact.square_().sum())

    def rank(self) -> float | None:
        """The effective rank of what has passed; exact where rows or columns are no more than SKETCH."""
        if self._energy == 0:
            return None
        weights, vectors = torch.linalg.eigh(self._gram[:SKETCH, :SKETCH])
        kept = weights > _ROUNDING * weights[-1]
        factor = self._image[:, :SKETCH] @ (vectors[:, kept] / weights[kept].sqrt())
        values = torch.linalg.svdvals(factor)
        return effective_rank(values, self._rest(factor, values))

    def _rest(self, factor: Tensor, values: Tensor) -> Rest | None:
        count = min(self._grid.rows, self._grid.columns) - values.numel()
        squares = self._energy - float(values.square().sum())
        if count <= 0 or squares <= _ROUNDING * self._energy:
            return None
        probes = self._test[:, SKETCH:]
        missed = self._image[:, SKETCH:] - factor @ (factor.T @ probes)
        return Rest(count, squares, float(missed.square().sum()) / PROBES)


@cache
def _test_matrix(columns: int) -> Tensor:
    """Gaussian [columns, SKETCH + PROBES]; where there are no more columns than SKETCH, each is its own test."""
    if columns <= SKETCH:
        return torch.eye(columns, dtype=torch.float64)
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(columns, SKETCH + PROBES, generator=generator, dtype=torch.float64)


def settings() -> Mapping[str, Any]:
    """How effective ranks were found, for a record."""
    return {
        "lora": "exact, from the factors",
        "other": "randomised sketch; the singular values beyond it by their sums of powers",
        "sketch": SKETCH,
        "probes": PROBES,
        "seed": SEED,
    }
