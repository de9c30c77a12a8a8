"""Is a candidate at most `margin` worse than its reference on the same samples?

`compare` picks the method. Both variants answer the same samples, so every bound is of the mean
*difference* of pairs, candidate minus reference, oriented so that more is better. `alpha` is the
chance, for each bound by itself, of lying on the wrong side of the truth. That every skill holds is
an intersection-union claim: each skill at `alpha`, no correction (Berger and Hsu 1996). Claims of
improvement are many claims at once: they get `holm`.

Sources
    Tango 1998      Equivalence test and confidence interval for the difference in proportions for
                    the paired-sample design. Statistics in Medicine 17, 891-908.
    Yang 2013       A non-iterative implementation of Tango's score confidence interval for a paired
                    difference of proportions. Statistics in Medicine 32, 1336-1342. Our tests
                    check against its quartic.
    Hsueh 2001      Hsueh, Liu and Chen. Unconditional exact tests for equivalence or noninferiority
                    for paired binary endpoints. Biometrics 57, 478-483.
    Sidik 2003      Exact unconditional tests for testing non-inferiority in matched-pairs design.
                    Statistics in Medicine 22, 265-278: Barnard convexity of the score.
    Berger 1994     Berger and Boos. P values maximized over a confidence set for the nuisance
                    parameter. Journal of the American Statistical Association 89, 1012-1016.
    Clopper 1934    Clopper and Pearson. The use of confidence or fiducial limits illustrated in the
                    case of the binomial. Biometrika 26, 404-413.
    Wilson 1927     Probable inference, the law of succession, and statistical inference.
                    Journal of the American Statistical Association 22, 209-212.
    Hall 1992       On the removal of skewness by transformation. Journal of the Royal Statistical
                    Society B 54, 221-228.
    Efron 1993      Efron and Tibshirani. An Introduction to the Bootstrap, section 12.5.
    Hanley 1983     If nothing goes wrong, is everything all right? JAMA 249, 1743-1745: the rule
                    of three.
    Liang 1986      Liang and Zeger. Longitudinal data analysis using generalized linear models.
                    Biometrika 73, 13-22: cluster-robust errors.
    Bell 2002       Bell and McCaffrey. Bias reduction in standard errors for linear regression with
                    multi-stage samples. Survey Methodology 28, 169-181: leverage of clusters.
    Miller 2024     Adding error bars to evals. arXiv 2411.00640: pairing, clusters, power.
    McNemar 1947    Note on the sampling error of the difference between correlated proportions or
                    percentages. Psychometrika 12, 153-157.
    Holm 1979       A simple sequentially rejective multiple test procedure. Scandinavian Journal
                    of Statistics 6, 65-70.
    Berger 1996     Berger and Hsu. Bioequivalence trials, intersection-union tests and equivalence
                    confidence sets. Statistical Science 11, 283-319.
"""

from gates.statistics.binary import EXACT_LIMIT, binary_bounds, paired_binary
from gates.statistics.bounded import mean_bounds, paired_bounded
from gates.statistics.compare import compare
from gates.statistics.comparison import Comparison, Scores
from gates.statistics.exact import exact_bounds, exact_p
from gates.statistics.improvement import holm, improvement_p
from gates.statistics.sizes import POWER, needed_samples
from gates.statistics.tango import corrected_bounds, proportion_bounds, tango_bounds, wilson_bounds

__all__ = [
    "EXACT_LIMIT",
    "POWER",
    "Comparison",
    "Scores",
    "binary_bounds",
    "compare",
    "corrected_bounds",
    "exact_bounds",
    "exact_p",
    "holm",
    "improvement_p",
    "mean_bounds",
    "needed_samples",
    "paired_binary",
    "paired_bounded",
    "proportion_bounds",
    "tango_bounds",
    "wilson_bounds",
]
