"""The verdict as a value: outcome, reasons for a person, rows of figures; to JSON and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gates.row import Artifact, Improvement, Outcome, Reason, Row
from pipeline.errors import CorruptArtifactError
from pipeline.waivers import Waiver

__all__ = ["Artifact", "Improvement", "Outcome", "Reason", "Row", "Verdict", "by_severity", "worst"]

SCHEMA = 2
READABLE = (1, SCHEMA)  # the first one had no slices, notes, improvements and inputs
# From worst to best; the worst one decides. Missing evidence comes before a bad result: a verdict
# on a part of the evidence would read as if it were one on the whole.
SEVERITY: tuple[Outcome, ...] = ("cannot judge", "reject", "inconclusive", "promote")


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
    notes: tuple[str, ...] = field(
        default=()
    )  # what a reader should know, and what decides nothing
    improvements: tuple[Improvement, ...] = field(default=())  # all together at the policy's alpha
    # By artifact: digests of the evaluations and the report that were judged, and what was stated.
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
            "notes": list(self.notes),
            "improvements": [asdict(one) for one in self.improvements],
            "inputs": {artifact: dict(seen) for artifact, seen in self.inputs.items()},
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
                **_since_2(value),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptArtifactError(
                f"The verdict does not read as one ({error!r}). Delete its file and judge again."
            ) from None
        if faults := _contradictions(verdict, value.get("schema")):
            raise CorruptArtifactError(
                f"The verdict contradicts itself: {'; '.join(faults)}. "
                "Delete its file and judge again."
            )
        return verdict

    def _scope(self) -> str:
        held = [row for row in self.rows if row.outcome == "promote"]
        skills, safety = (
            len({row.check for row in held if row.kind == kind and row.whole})
            for kind in ("skill", "safety")
        )
        slices = len({row.check for row in held if row.slice})
        parts = [_count(skills, "skill"), _count(safety, "safety suite")]
        if slices:
            parts.insert(1, _count(slices, "slice"))
        named = f"{', '.join(parts[:-1])} and {parts[-1]}"
        return f"{named} show, for the {' and the '.join(self.artifacts)} weights,"

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


def _since_2(value: Mapping[str, Any]) -> dict[str, Any]:
    """What verdicts have had since schema 2; nothing for an older one."""
    if value.get("schema") == 1:
        return {}
    return {
        "notes": tuple(value["notes"]),
        "improvements": tuple(Improvement(**one) for one in value["improvements"]),
        "inputs": {artifact: dict(seen) for artifact, seen in value["inputs"].items()},
    }


def _contradictions(verdict: Verdict, schema: Any) -> list[str]:
    """What cannot be true together in a verdict that was read."""
    faults = []
    if schema not in READABLE:
        faults.append(f"schema {schema!r}, where {SCHEMA} is the newest")
    if verdict.outcome != worst(verdict.reasons):
        faults.append(f"it says {verdict.outcome!r} and its reasons say {worst(verdict.reasons)!r}")
    waived = {reason.check for reason in verdict.reasons if reason.waiver}
    if waived != {waiver.check for waiver in verdict.waivers}:
        faults.append("its reasons and its waivers do not agree")
    told = {(reason.artifact, reason.check, reason.outcome) for reason in verdict.reasons}
    untold = [r.check for r in verdict.rows if (r.artifact, r.check, r.outcome) not in told]
    if untold:
        faults.append(f"no reason agrees with the row of {untold[0]}")
    return faults


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
