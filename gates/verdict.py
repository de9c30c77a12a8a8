"""The verdict of a policy: a pure function of stored scores, which anyone can compute again.

    promote        every rule holds: the lower bound of the difference is above -margin, and the
                   floor is met
    reject         some rule is broken beyond chance: the upper bound is below -margin, or the
                   floor is missed
    inconclusive   neither is shown; the reason names the number of samples that would decide
    cannot judge   evidence is missing or not comparable. It outweighs the others, and blocks too

The best expert is chosen on the very samples that judge, which flatters it: the comparison is the
stricter for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from gates import wording
from gates.evidence import ALWAYS, gather
from gates.faults import faults_of
from gates.inputs import inputs_of
from gates.notes import improvements, notes
from gates.outcome import Artifact, Reason, Verdict, by_severity, worst
from gates.policy import LATENCY, Policy
from gates.rules import judge_rule
from gates.speed import judge_latency
from pipeline.facts import Evaluation

__all__ = ["Verdict", "combine", "judge_release"]


def judge_release(
    policy: Policy,
    candidate: Evaluation,
    references: Mapping[str, Evaluation],
    experts: Sequence[str],
    *,
    latency: Mapping[str, Any] | None,
    today: date,
    artifact: Artifact,
    always: tuple[str, ...] = ALWAYS,
    absent: Mapping[str, str] | None = None,
    uses: Mapping[str, int] | None = None,
    fixed_policy: str | None = None,
    registered: str | None = None,
) -> Verdict:
    """The verdict of `policy` on one artifact.

    `references` holds base, plain, each of `experts`, and whatever else the policy compares with,
    by variant name. `latency` is the report of the latency stage, in milliseconds; it times the
    merged weights and is judged with those only. `today` decides which waivers hold, nothing else.
    `always`: the variants that must be there whatever the policy names.

    `absent` may state that there is no champion yet, {"champion": why}; then rules pass it over
    where it is a further reference. `uses`: by the digest of a golden set, the candidates that the
    ledger counts on it; None where no ledger is kept. `fixed_policy`: `Policy.fixed_digest` as
    recorded when the evaluation began. `registered`: the digest of the weights that would ship.
    The last two are not checked where they are None.
    Bad evidence raises nothing: it cannot be judged.
    """
    stated: dict[str, Any] = {"uses": uses, "fixed_policy": fixed_policy, "registered": registered}
    evidence = gather(artifact, candidate, references, tuple(experts), always, absent)
    judged = [judge_rule(rule, evidence) for rule in policy.rules]
    reasons = [reason for one in judged for reason in one.reasons]
    if policy.latency is not None and artifact == "merged":
        reasons.append(judge_latency(policy.latency, latency))
    reasons = [_waive(reason, policy, today) for reason in reasons]
    used = {reason.check for reason in reasons if reason.waiver}
    reasons = faults_of(policy, evidence, reasons, today, **stated) + reasons
    return Verdict(
        outcome=worst(reasons),
        artifacts=(artifact,),
        policy_digest=policy.digest,
        candidate_digests={artifact: candidate.model_digest},
        reasons=by_severity(reasons),
        rows=tuple(row for one in judged for row in one.rows),
        waivers=tuple(w for w in policy.waivers if w.check in used),
        judged_on=today.isoformat() if policy.waivers else "",
        notes=notes(policy, evidence, judged, uses),
        improvements=improvements(policy, judged),
        inputs={artifact: inputs_of(policy, evidence, latency=latency, always=always, **stated)},
    )


def combine(merged: Verdict, quantized: Verdict) -> Verdict:
    """The verdict of a release: the worse of both, with the reasons of both."""
    both = (merged, quantized)
    reasons = merged.reasons + quantized.reasons
    faults = []
    if (merged.artifacts, quantized.artifacts) != (("merged",), ("quantized",)):
        faults.append("a release needs one verdict on the merged and one on the quantized weights")
    if merged.policy_digest != quantized.policy_digest:
        faults.append("the merged and the quantized weights were judged by different policies")
    if faults:
        text = wording.cannot_judge("verdict", faults, "Judge both again by one policy.")
        reasons += (Reason("quantized", "verdict", "cannot judge", text),)
    return Verdict(
        outcome=worst(reasons),
        artifacts=merged.artifacts + quantized.artifacts,
        policy_digest=merged.policy_digest,
        candidate_digests={**merged.candidate_digests, **quantized.candidate_digests},
        reasons=by_severity(reasons),
        rows=merged.rows + quantized.rows,
        waivers=tuple(dict.fromkeys(w for verdict in both for w in verdict.waivers)),
        judged_on=max(verdict.judged_on for verdict in both),
        notes=tuple(dict.fromkeys(note for verdict in both for note in verdict.notes)),
        improvements=merged.improvements + quantized.improvements,
        inputs={**merged.inputs, **quantized.inputs},
    )


def _waive(reason: Reason, policy: Policy, today: date) -> Reason:
    waiver = policy.waiver(reason.check, today)
    # A waiver forgives a bad result, not one that is not there; of latency, which some merges cannot have, both.
    forgiven = reason.outcome in ("reject", "inconclusive") or reason.check == LATENCY
    if waiver is None or reason.outcome == "promote" or not forgiven:
        return reason
    return replace(reason, waiver=f"waived {waiver.words}")
