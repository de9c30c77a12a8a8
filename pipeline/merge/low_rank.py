"""The best approximation of a given rank to a matrix that is read in blocks of rows, as a product of two factors.

"Best" is the truncated singular value decomposition: no matrix of that rank is nearer in the Frobenius norm
(Eckart, Young: The approximation of one matrix by another of lower rank. Psychometrika 1, 1936). Arithmetic is
float64; memory is bounded by (rows + columns) x (rank + OVERSAMPLING) and one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.merge.blocks import Grid
from pipeline.merge.draws import uniform

# Reads the matrix once: (rows, their values as float32 [rows, columns]), in order.
Rows = Callable[[], Iterator[tuple[range, Tensor]]]

# Columns that the sketch has beyond the rank, and times that it is multiplied by the matrix and its transpose.
OVERSAMPLING = 10
POWER_PASSES = 3


@dataclass(frozen=True)
class Factors:
    """`left` [rows, rank] @ `right` [rank, columns], float64; each has the square root of the singular values.

    The entry of greatest magnitude of each column of `left` is positive: singular vectors have no sign of
    their own.
    """

    left: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        """The number of columns of `left`."""
        return self.left.shape[1]

    def padded(self, rank: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Both factors in a storage type, filled up to `rank` with zeros."""
        missing = rank - self.rank
        left = torch.nn.functional.pad(self.left, (0, missing))
        right = torch.nn.functional.pad(self.right, (0, 0, 0, missing))
        return left.to(dtype), right.to(dtype)


def of_products(pairs: Sequence[tuple[Tensor, Tensor]], rank: int) -> Factors:
    """The best approximation of sum(L @ R) over `pairs` of L [rows, r] and R [r, columns], float64.

    The sum is the product of the stacked factors, and its singular values are those of the small matrix between
    their orthonormal bases: exact, and the matrix is never formed.
    """
    outer, left = torch.linalg.qr(torch.cat([pair[0] for pair in pairs], dim=1))
    inner, right = torch.linalg.qr(torch.cat([pair[1] for pair in pairs], dim=0).T)
    u, values, vt = torch.linalg.svd(left @ right.T, full_matrices=False)
    return _split(outer @ u, values, vt @ inner.T, rank)


def of_rows(rows: Rows, grid: Grid, rank: int, key: int) -> Factors:
    """A near best approximation of any matrix of the shape `grid`; `key` decides the random start.

    Halko, Martinsson, Tropp (Finding structure with randomness. SIAM Review 53 (2), 2011): subspace iteration
    (algorithm 4.4) finds a basis of the dominant rows, and the decomposition of the matrix on that basis (algorithm
    5.1) the factors. Unlike there, each pass multiplies by the matrix and its transpose at once and orthonormalizes
    after both, so that the matrix is read POWER_PASSES + 1 times. That drops singular values below 1e-8 of the
    greatest, which are rounding in a matrix of float32. On spectra j^-s of 600 values the error came out 0 to 1.2 %
    above the least, most for s = 0.1 and rank 64.
    """
    count = min(rank + OVERSAMPLING, grid.rows, grid.columns)
    basis, _ = torch.linalg.qr(_normal(key, grid.columns, count))
    for _ in range(POWER_PASSES):
        image = torch.zeros_like(basis)
        for _, values in rows():
            block = values.double()
            image += block.T @ (block @ basis)
        basis, _ = torch.linalg.qr(image)
    product = torch.empty(grid.rows, count, dtype=torch.float64)
    for span, values in rows():
        product[span.start : span.stop] = values.double() @ basis
    outer, core = torch.linalg.qr(product)
    u, singular, vt = torch.linalg.svd(core, full_matrices=False)
    return _split(outer @ u, singular, vt @ basis.T, rank)


def relative_error(rows: Rows, left: Tensor, right: Tensor) -> float:
    """norm(matrix - left @ right) / norm(matrix), Frobenius, summed in float64; 0 for a matrix of zeros.

    NaN or infinity where either side has such values.
    """
    left, right = left.double(), right.double()
    missed = norm = 0.0
    for span, values in rows():
        block = values.double()
        norm += float(block.square().sum())
        missed += float(block.sub_(left[span.start : span.stop] @ right).square_().sum())
    return (missed / norm) ** 0.5 if norm else missed


def _split(u: Tensor, values: Tensor, vt: Tensor, rank: int) -> Factors:
    """The first `rank` singular triplets, fewer where the rest is rounding."""
    smallest = float(values[0]) * max(len(u), vt.shape[1]) * torch.finfo(torch.float64).eps
    kept = min(rank, int((values > smallest).sum()))
    u, vt, roots = u[:, :kept], vt[:kept], values[:kept].sqrt()
    if kept:
        roots = roots * u.gather(0, u.abs().argmax(0, keepdim=True)).sign()[0]
    return Factors(u * roots, roots[:, None] * vt)


def _normal(key: int, rows: int, columns: int) -> Tensor:
    """Independent standard normal draws, by the inverse of their distribution: float64 [rows, columns]."""
    draws = torch.from_numpy(uniform(key, rows * columns).astype("float64"))
    return torch.special.ndtri(draws.add_(0.5).mul_(2.0**-32)).view(rows, columns)
