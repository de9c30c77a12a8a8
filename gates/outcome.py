"""The verdict as a value: outcome, reasons for a person, rows of figures; to JSON and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from gates.policy import Kind
from pipeline.errors import CorruptArtifactError
from pipeline.waivers import Waiver

Outcome = Literal["promote", "reject", "inconclusive", "cannot judge"]
Artifact = Literal["merged", "quantized"]

SCHEMA = 1
# From worst to best; the worst one decides. Missing evidence comes before a bad result: a verdict
# on a part of the evidence would read as if it were one on the whole.
SEVERITY: tuple[Outcome, ...] = ("cannot judge", "reject", "inconclusive", "promote")


@dataclass(frozen=True)
class Reason:
    """Why, for one check, in a sentence that needs no statistics."""

    artifact: Artifact
    check: str  # a skill, a safety suite, "latency", or the variant whose evidence is at fault
    outcome: Outcome
    text: str
    waiver: str = ""  # who waived it, why, until when; "" where nobody did


@dataclass(frozen=True)
class Row:
    """The figures of one rule, in the metric's units; differences are positive where better."""

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


@dataclass(frozen=True)
class Verdict:
    """What the policy says of one artifact, or of a release. Only `promote` promotes."""

    outcome: Outcome
    artifacts: tuple[Artifact, ...]
    policy_digest: str
    candidate_digests: Mapping[str, str]  # by artifact: the digest of the model that was judged
    reasons: tuple[Reason, ...]  # worst first
    rows: tuple[Row, ...]
    waivers: tuple[Waiver, ...] = field(default=())  # those that let something pass
    judged_on: str = ""  # the day, only where the policy has waivers: nothing else depends on it

    @property
    def sentence(self) -> str:
        """The verdict in one sentence, naming the checks that decided it."""
        decisive = self._names(
            r for r in self.reasons if r.outcome == self.outcome and not r.waiver
        )
        waived = self._names(r for r in self.reasons if r.waiver)
        return {
            "promote": f"Promote: {self._scope()} what the policy asks.",
            "reject": f"Reject: {decisive} fell short of what the policy asks.",
            "inconclusive": f"Inconclusive: too few samples to tell for {decisive}.",
            "cannot judge": f"Cannot judge: the evidence is incomplete for {decisive}.",
        }[self.outcome] + (f" Waived: {waived}." if waived else "")

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON values. `from_json` gives the same verdict back."""
        return {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "sentence": self.sentence,
            "artifacts": list(self.artifacts),
            "policy_digest": self.policy_digest,
            "candidate_digests": dict(self.candidate_digests),
            "reasons": [asdict(reason) for reason in self.reasons],
            "rows": [asdict(row) for row in self.rows],
            "waivers": [waiver.to_json() for waiver in self.waivers],
            "judged_on": self.judged_on,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """Read `to_json` back.

        Raises CorruptArtifactError where it is no verdict, or contradicts itself.
        """
        try:
            verdict = cls(
                outcome=value["outcome"],
                artifacts=tuple(value["artifacts"]),
                policy_digest=value["policy_digest"],
                candidate_digests=dict(value["candidate_digests"]),
                reasons=tuple(Reason(**reason) for reason in value["reasons"]),
                rows=tuple(Row(**row) for row in value["rows"]),
                waivers=tuple(Waiver.from_json(waiver) for waiver in value["waivers"]),
                judged_on=value["judged_on"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptArtifactError(
                f"The verdict does not read as one ({error!r}). Delete its file and judge again."
            ) from None
        waived = {reason.check for reason in verdict.reasons if reason.waiver}
        if waived != {waiver.check for waiver in verdict.waivers}:
            raise CorruptArtifactError(
                "The verdict's reasons and its waivers do not agree. "
                "Delete its file and judge again."
            )
        if value.get("schema") != SCHEMA or verdict.outcome != worst(verdict.reasons):
            raise CorruptArtifactError(
                f"The verdict says {verdict.outcome!r} and its reasons say "
                f"{worst(verdict.reasons)!r} (schema {value.get('schema')!r}, {SCHEMA} expected). "
                "Delete its file and judge again."
            )
        return verdict

    def _scope(self) -> str:
        skills, safety = (
            len({row.check for row in self.rows if (row.kind, row.outcome) == (kind, "promote")})
            for kind in ("skill", "safety")
        )
        parts = f"{_count(skills, 'skill')} and {_count(safety, 'safety suite')}"
        return f"{parts} show, for the {' and the '.join(self.artifacts)} weights,"

    def _names(self, reasons: Iterable[Reason]) -> str:
        safety = {row.check for row in self.rows if row.kind == "safety"}
        names = [
            f"{check} (a safety veto)" if check in safety else check
            for check in dict.fromkeys(reason.check for reason in reasons)
        ]
        return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def worst(reasons: Iterable[Reason]) -> Outcome:
    """The most severe outcome that nobody waived; `cannot judge` where there is no reason."""
    reasons = tuple(reasons)
    found = {reason.outcome if not reason.waiver else "promote" for reason in reasons}
    return next((outcome for outcome in SEVERITY if outcome in found), "cannot judge")


def by_severity(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """The reasons, worst first; waived ones stand just before those that promote."""
    return tuple(
        sorted(
            reasons, key=lambda r: len(SEVERITY) - 1.5 if r.waiver else SEVERITY.index(r.outcome)
        )
    )


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
