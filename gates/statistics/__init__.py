"""Is a candidate at most `margin` worse than its reference on the same samples?

`compare` picks the method. Both variants answer the same samples, so every bound is of the mean
*difference* of pairs, candidate minus reference, oriented so that more is better. `alpha` is the
chance, for each bound by itself, of lying on the wrong side of the truth. That every skill holds is
an intersection-union claim: each skill at `alpha`, no correction (Berger and Hsu 1996).
"""

from gates.statistics.compare import compare
from gates.statistics.improvement import holm, improvement_p
from gates.statistics.paired import (
    POWER,
    Comparison,
    Scores,
    mean_bounds,
    needed_samples,
    paired_binary,
    paired_bounded,
    tango_bounds,
    wilson_bounds,
)

__all__ = [
    "POWER",
    "Comparison",
    "Scores",
    "compare",
    "holm",
    "improvement_p",
    "mean_bounds",
    "needed_samples",
    "paired_binary",
    "paired_bounded",
    "tango_bounds",
    "wilson_bounds",
]
