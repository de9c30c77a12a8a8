"""What a golden set can show, before any compute is spent.

    plan_rule(rule_name, metric, low, high, margin, alpha, n, clusters=None,
              discordance_or_sd=None) -> PlanRow
    detectable_margin(n, discordance, alpha, power=0.8) -> float
    needed_n(margin, discordance, alpha, power=0.8) -> int

PlanRow: name, n, clusters, margin, detectable, needed_n, power, assumption (words), ok.
`detectable` is the smallest margin that the set shows with a probability of 0.8 for a candidate
that is as good as its reference; `power` the chance to show the rule's own margin; `ok` is
power >= 0.8. `discordance_or_sd`: for range [0, 1] the share of samples that the two answer
differently, else the standard deviation of the differences in the metric's units; None assumes
0.12, or a tenth of the range.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import ndtr, ndtri

from gates.statistics import POWER, needed_samples


@dataclass(frozen=True)
class PlanRow:
    """What one rule's golden set can show."""

    name: str
    n: int
    clusters: int | None
    margin: float
    detectable: float
    needed_n: int
    power: float
    assumption: str
    ok: bool


def plan_rule(
    rule_name: str,
    metric: str,
    low: float,
    high: float,
    margin: float,
    alpha: float,
    n: int,
    clusters: int | None = None,
    discordance_or_sd: float | None = None,
) -> PlanRow:
    """What `n` samples show for one rule, the candidate being as good as its reference."""
    binary = (low, high) == (0.0, 1.0)
    spread = discordance_or_sd
    if spread is None:
        spread = 0.12 if binary else (high - low) / 10
    sd = spread**0.5 if binary else spread
    words = f"{spread:.0%} of samples answered differently" if binary else f"sd {spread:g}"
    z = float(ndtri(1 - alpha))
    power = float(ndtr(margin * n**0.5 / max(sd, 1e-12) - z))
    needed = needed_samples(0.0, margin, sd * sd, alpha) if margin > 0 else None
    return PlanRow(
        name=rule_name,
        n=n,
        clusters=clusters,
        margin=margin,
        detectable=(z + float(ndtri(POWER))) * sd / n**0.5,
        needed_n=needed or 0,
        power=power,
        assumption=f"{metric}: {words}",
        ok=power >= POWER,
    )
