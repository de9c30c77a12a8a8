"""What a comparison says, and what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A candidate against its reference on n samples, in the metric's units."""

    n: int
    candidate_mean: float
    reference_mean: float
    difference: float  # candidate minus reference
    lower: float  # one-sided: the true difference is above it, but for a chance of alpha
    upper: float  # one-sided: the true difference is below it, but for a chance of alpha
    method: str
    discordant: int  # pairs whose two scores differ
    needed_n: int | None  # samples that would decide; None where no number would
    clusters: int | None = None  # groups of dependent samples; None where all are independent


def need_pairs(candidate: npt.NDArray[Any], reference: npt.NDArray[Any]) -> None:
    """Raise ValueError where the two are no columns of the same length, one or more."""
    if candidate.shape != reference.shape or candidate.ndim != 1 or not len(candidate):
        raise ValueError(
            f"paired scores need two columns of equal length, one or more; "
            f"got shapes {candidate.shape} and {reference.shape}"
        )


def need_range(candidate: Scores, reference: Scores, low: float, high: float) -> None:
    """Raise ValueError where a score is not finite or lies outside [low, high]."""
    for column in (candidate, reference):
        if not (np.isfinite(column).all() and column.min() >= low and column.max() <= high):
            raise ValueError(f"paired scores must be finite and from {low} to {high}")


def is_binary(column: Scores, low: float, high: float) -> bool:
    """Whether the range is [0, 1] and every score is 0 or 1."""
    return (low, high) == (0.0, 1.0) and bool(((column == 0.0) | (column == 1.0)).all())
