"""A method for what was measured: one table of rules, its thresholds named; the first that holds decides.

The rules are those of the field's guides. Models of one task that lie close together are averaged (Wortsman et al.
2022, arXiv 2203.05482); small differences that keep out of each other's way are added (Ilharco et al. 2023, arXiv
2212.04089); where they interfere, signs are elected (Yadav et al. 2023, arXiv 2306.01708), and with many of them the
differences are thinned out first (Yu et al. 2024, arXiv 2311.03099; Deep et al. 2024, arXiv 2406.11617). Stacking
layers is a new architecture and no answer to interference, so passthrough is never suggested. The weights of a
recipe play no part here, and what a suggestion is worth is for the gate to find.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.diagnose.cautions import cautions
from pipeline.diagnose.evidence import Evidence, percent
from pipeline.diagnose.figures import TOP

# Differences are near-parallel where the lowest cosine of any pair is at least PARALLEL. From SAME on a chord is as
# good as an arc: the mean of two is at most 3 % shorter than they are.
PARALLEL, SAME = 0.5, 0.9
# A pair whose cosine is no farther from 0 counts as orthogonal.
ORTHOGONAL = 0.2
# Differences interfere where so much of the mass cancels when all are added. Of unrelated ones that are of one size
# and change every entry, two lose 0.29 and three 0.42.
CANCELLED = 1 / 3
# From so many models on, differences are thinned out before signs are elected.
MANY = 4
# From this share of the mass in the TOP of the entries on, the large ones carry a difference; noise has 0.44 there.
CONCENTRATED = 0.5
# Two models are neighbours up to this distance, by the length of the first.
NEAR = 0.1


@dataclass(frozen=True)
class Suggestion:
    """A method of the recipe table, why in a sentence with its numbers, warnings.

    The method is None where no merge makes sense.
    """

    method: str | None
    reason: str
    warnings: tuple[str, ...]


def suggest(evidence: Evidence) -> Suggestion:
    """The method of the first rule that holds, and what else stands out."""
    rule = next(rule for rule in RULES if rule.holds(evidence))
    why = rule.why(evidence)
    return Suggestion(rule.method, why[0].upper() + why[1:], cautions(evidence))


@dataclass(frozen=True)
class Rule:
    """One row of the table."""

    method: str | None
    holds: Callable[[Evidence], bool]
    why: Callable[[Evidence], str]


def _interferes(e: Evidence) -> bool:
    return e.cancelled >= CANCELLED or abs(e.steepest) > ORTHOGONAL


_LIMITS = f"limits: cosine {ORTHOGONAL:g}, mass {percent(CANCELLED)}"
_ONE_TASK = f"they pull in one direction, as models of one task do (from cosine {PARALLEL:g} on)"

RULES = (
    Rule(
        None,
        lambda e: bool(e.strays),
        lambda e: (
            f"no method mends a source that does not descend from {e.base}, as it seems of "
            f"{e.listed(e.strays)}: its difference is the distance between two networks and no "
            "skill. Leave it out, or name the base that all share."
        ),
    ),
    Rule(
        None,
        lambda e: not e.changed,
        lambda e: f"no source differs from {e.base}, so there is nothing to merge.",
    ),
    Rule(
        "slerp",
        lambda e: not e.base_known and len(e.changed) == 1 and e.distance > NEAR,
        lambda e: (
            f"the two models lie {e.distance:.3f} of the first one's length apart (near: {NEAR:g}), "
            "and a point on the arc between them keeps the length that a mean would lose."
        ),
    ),
    Rule(
        "linear",
        lambda e: not e.base_known,
        lambda e: (
            f"the models lie within {e.distance:.3f} of the first one's length, and without the "
            "base nothing more is known: a weighted mean needs no base."
        ),
    ),
    Rule(
        "task_arithmetic",
        lambda e: len(e.changed) == 1,
        lambda e: (
            f"there is one difference ({e.distance:.3f} of the base's length) and nothing in its "
            "way: its weight adds, dampens or subtracts it."
        ),
    ),
    Rule(
        "nuslerp",
        lambda e: len(e.changed) == 2 and PARALLEL <= e.lowest < SAME,
        lambda e: (
            f"{e.angles}: {_ONE_TASK}, and the arc between them (spherical interpolation of the "
            "differences) keeps the length of which a mean would lose "
            f"{percent(1 - ((1 + e.lowest) / 2) ** 0.5)}."
        ),
    ),
    Rule(
        "linear",
        lambda e: e.lowest >= PARALLEL,
        lambda e: f"{e.angles}: {_ONE_TASK}, and a mean keeps what they have in common.",
    ),
    Rule(
        "della",
        lambda e: _interferes(e) and len(e.changed) >= MANY and e.top >= CONCENTRATED,
        lambda e: (
            f"{e.angles}, {e.conflicts}: {len(e.changed)} models interfere ({_LIMITS}). The largest "
            f"{percent(TOP)} of the entries carry {percent(e.top)} of the mass (from "
            f"{percent(CONCENTRATED)} on: most of it), so small entries are dropped rather than "
            "large ones before signs are elected."
        ),
    ),
    Rule(
        "dare_ties",
        lambda e: _interferes(e) and len(e.changed) >= MANY,
        lambda e: (
            f"{e.angles}, {e.conflicts}: {len(e.changed)} models interfere ({_LIMITS}). The mass is "
            f"spread evenly (the largest {percent(TOP)} of the entries carry {percent(e.top)}), so "
            "entries are dropped at random before signs are elected."
        ),
    ),
    Rule(
        "ties",
        _interferes,
        lambda e: (
            f"{e.angles}, {e.conflicts}: they interfere ({_LIMITS}), so each is trimmed and only "
            "what agrees in sign is merged."
        ),
    ),
    Rule(
        "task_arithmetic",
        lambda e: True,
        lambda e: (
            f"{e.angles}, {e.conflicts}: they keep out of each other's way ({_LIMITS}), so a "
            "weighted sum keeps each of them."
        ),
    ),
)
