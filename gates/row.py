"""The figures of one check, and the reason that a person reads: the lines of a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gates.rule import Kind, Rule

Outcome = Literal["promote", "reject", "inconclusive", "cannot judge"]
Artifact = Literal["merged", "quantized", "candidate"]  # the last: scores of anything


@dataclass(frozen=True)
class Reason:
    """Why, for one check, in a sentence that needs no statistics."""

    artifact: Artifact
    # A skill or safety suite, one of its slices «json[language=de]», a further reference
    # «json[vs plain]», "latency", or the variant whose evidence is at fault.
    check: str
    outcome: Outcome
    text: str
    waiver: str = ""  # who waived it, why, until when; "" where nobody did


@dataclass(frozen=True)
class Row:
    """The figures of one check, in the metric's units; differences are positive where better.

    With the scores it holds all that is needed to compute them again.
    """

    artifact: Artifact
    check: str
    kind: Kind
    metric: str
    reference: str  # the variant compared with; "" where none could be chosen
    outcome: Outcome
    margin: float
    floor: float
    alpha: float
    n: int = 0
    candidate_mean: float | None = None
    reference_mean: float | None = None
    difference: float | None = None
    lower: float | None = None  # one-sided bounds of the true difference, each at alpha
    upper: float | None = None
    discordant: int | None = None
    needed_n: int | None = None  # samples that would decide, where the outcome is inconclusive
    method: str = ""
    # What verdicts of schema 1 do not have.
    rule: str = ""  # the skill or safety suite that the check is of
    slice: str = ""  # FIELD=VALUE, where only its samples were judged
    cluster: str = ""  # the field whose values group dependent samples
    clusters: int | None = None  # how many groups there were
    low: float | None = None  # the metric's range
    high: float | None = None
    direction: str = ""  # higher or lower: which is better
    # Of a safety suite: the one-sided bound of the candidate's own true mean, which must meet the floor.
    bound: float | None = None

    @classmethod
    def blank(cls, check: Rule, artifact: Artifact, *, rule: str = "", part: str = "") -> Row:
        """The row of a check that has no figures yet; `rule` and `part` where it is of a slice."""
        return cls(
            artifact=artifact,
            check=check.name,
            kind=check.kind,
            metric=check.metric,
            reference="",
            outcome="cannot judge",
            margin=check.margin,
            floor=check.floor,
            alpha=check.alpha,
            rule=rule or check.name,
            slice=part,
            cluster=check.cluster,
            low=check.low,
            high=check.high,
            direction=check.direction,
        )

    @property
    def whole(self) -> bool:
        """Whether it is of a rule as a whole: neither a slice nor a further reference."""
        return not self.rule or self.rule == self.check


@dataclass(frozen=True)
class Improvement:
    """A skill at which the candidate is shown to be better than its reference."""

    artifact: Artifact
    check: str
    reference: str
    difference: float  # in the metric's units, positive
    p: float  # the chance of such scores if it were no better; one-sided, before Holm
    text: str
