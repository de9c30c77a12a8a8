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

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from gates import wording
from gates.evidence import ALWAYS, Evidence, gather
from gates.outcome import Artifact, Reason, Verdict, by_severity, worst
from gates.policy import LATENCY, LatencyRule, Policy
from gates.rules import judge_rule
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
) -> Verdict:
    """The verdict of `policy` on one artifact.

    `references` holds base, plain, each of `experts`, and whatever else the policy compares with,
    by variant name. `latency` is the report of the latency stage, in milliseconds; it times the
    merged weights and is judged with those only. `today` decides which waivers hold, nothing else.
    `always`: the variants that must be there whatever the policy names.
    Bad evidence raises nothing: it cannot be judged.
    """
    evidence = gather(artifact, candidate, references, tuple(experts), always)
    judged = [judge_rule(rule, evidence) for rule in policy.rules]
    reasons = [reason for _, reason in judged]
    if policy.latency is not None and artifact == "merged":
        reasons.append(_judge_latency(policy.latency, latency))
    reasons = [_waive(reason, policy, today) for reason in reasons]
    used = {reason.check for reason in reasons if reason.waiver}
    reasons = _faults(policy, evidence, today) + reasons
    return Verdict(
        outcome=worst(reasons),
        artifacts=(artifact,),
        policy_digest=policy.digest,
        candidate_digests={artifact: candidate.model_digest},
        reasons=by_severity(reasons),
        rows=tuple(row for row, _ in judged),
        waivers=tuple(w for w in policy.waivers if w.check in used),
        judged_on=today.isoformat() if policy.waivers else "",
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
    )


def _faults(policy: Policy, evidence: Evidence, today: date) -> list[Reason]:
    """What makes the evidence incomplete as a whole, whatever single rules say."""
    texts = [
        (label := evidence.label(name), wording.cannot_compare(label, faults))
        for name, faults in evidence.unfit.items()
    ]
    candidate = evidence.candidate
    scored = {skill for skill, _ in evidence.groups[evidence.artifact]} | set(candidate.tasks)
    texts += [
        (
            skill,
            f"{skill}: was evaluated, but the policy does not say what it must show. "
            "Add it to the policy.",
        )
        for skill in sorted(scored - {rule.name for rule in policy.rules})
    ]
    texts += [
        (
            w.check,
            f"{w.check}: the waiver by {w.name} expired on {w.expires}. Renew it or remove it.",
        )
        for w in policy.waivers
        if w.expired(today)
    ]
    return [Reason(evidence.artifact, check, "cannot judge", text) for check, text in texts]


def _judge_latency(rule: LatencyRule, report: Mapping[str, Any] | None) -> Reason:
    ratio = _ratio(report, rule.metric)
    if ratio is None:
        way_out = (
            "Run the latency stage; where no expert is an adapter, take latency out of the policy."
        )
        faults = [f"there is no {rule.metric} of the merge and of base plus adapter"]
        text = wording.cannot_judge(LATENCY, faults, way_out)
        return Reason("merged", LATENCY, "cannot judge", text)
    within = ratio <= rule.max_ratio
    text = wording.latency(rule, ratio, within=within)
    return Reason("merged", LATENCY, "promote" if within else "reject", text)


def _ratio(report: Mapping[str, Any] | None, metric: str) -> float | None:
    """The merge's time over base plus adapter's; None unless both are positive and finite."""
    try:
        ours, theirs = (float((report or {})[side][metric]) for side in ("merged", "unmerged"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fit = all(math.isfinite(ms) and ms > 0 for ms in (ours, theirs))
    return ours / theirs if fit else None


def _waive(reason: Reason, policy: Policy, today: date) -> Reason:
    waiver = policy.waiver(reason.check, today)
    if waiver is None or reason.outcome == "promote":
        return reason
    return replace(reason, waiver=f"waived {waiver.words}")
