"""What makes the evidence unfit as a whole, whatever single rules say. No waiver covers it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from gates import wording
from gates.evidence import Evidence
from gates.policy import LATENCY, Policy
from gates.row import Reason
from pipeline.waivers import COMPATIBILITY, Waiver

Told = Iterable[tuple[str, str]]  # what is at fault, and why

# Names of what is at fault that no skill should have: they read as words of a sentence.
THE_POLICY = "the policy"
THE_WEIGHTS = "the weights"


def faults_of(
    policy: Policy,
    evidence: Evidence,
    judged: Sequence[Reason],
    today: date,
    *,
    uses: Mapping[str, int] | None,
    fixed_policy: str | None,
    registered: str | None,
) -> list[Reason]:
    """Reasons that block: unfit variants, skills without a rule, seals, changed policy or weights."""
    texts = [
        *_unfit(evidence),
        *_unruled(policy, evidence),
        *_unsealed(policy, evidence, uses),
        *_changed_policy(policy, fixed_policy),
        *_other_weights(evidence, registered),
        *_waivers(policy, {reason.check for reason in judged}, today),
    ]
    return [Reason(evidence.artifact, check, "cannot judge", text) for check, text in texts]


def _unfit(evidence: Evidence) -> Told:
    for name, faults in evidence.unfit.items():
        label = evidence.label(name)
        yield label, wording.cannot_compare(label, faults)


def _unruled(policy: Policy, evidence: Evidence) -> Told:
    candidate = evidence.candidate
    scored = {skill for skill, _ in evidence.groups[evidence.artifact]} | set(candidate.tasks)
    for skill in sorted(scored - {rule.name for rule in policy.rules}):
        yield (
            skill,
            f"{skill}: was evaluated, but the policy does not say what it must show. "
            "Add it to the policy.",
        )


def _unsealed(policy: Policy, evidence: Evidence, uses: Mapping[str, int] | None) -> Told:
    """Golden sets that are not those of the policy, and those that may be used no more."""
    for seal in policy.sealed:
        facts = evidence.candidate.tasks.get(seal.skill)
        if facts is None:
            continue  # the rule itself says so
        if fault := seal.fault(facts.golden_digest):
            way_out = "Restore the golden set, or seal the new one in the policy."
            yield seal.skill, wording.cannot_judge(seal.skill, [fault], way_out)
        if seal.when_used_up == "block" and (why := seal.used_up(uses)):
            yield seal.skill, wording.fresh_examples(why)


def _changed_policy(policy: Policy, fixed: str | None) -> Told:
    """Waivers may be added after the scores; nothing else may change."""
    if fixed is not None and fixed not in (policy.digest, policy.fixed_digest):
        yield (
            THE_POLICY,
            "the policy was changed after the scores were made: it was fixed as "
            f"{fixed[:12]}…, and is {policy.fixed_digest[:12]}… now. Put it back; or, to judge by "
            "the new one, evaluate the candidate again, which fixes it.",
        )


def _other_weights(evidence: Evidence, registered: str | None) -> Told:
    scored = evidence.candidate.model_digest
    if registered is not None and registered != scored:
        yield (
            THE_WEIGHTS,
            f"the scores are of other weights than those to be registered: {scored[:12]}… was "
            f"evaluated, and {registered[:12]}… would ship. Evaluate the weights that ship.",
        )


def _waivers(policy: Policy, checks: set[str], today: date) -> Told:
    """Waivers that have expired, and those of no check; each blocks even where nothing needs it."""
    for waiver in policy.waivers:
        if waiver.expired(today):
            yield (
                waiver.check,
                f"{waiver.check}: the waiver by {waiver.name} expired on {waiver.expires}. "
                "Renew it or remove it.",
            )
        if not _is_check(waiver, checks):
            yield (
                waiver.check,
                f"{waiver.check}: the waiver by {waiver.name} names no check of this release. "
                "Correct the name, or remove the waiver.",
            )


def _is_check(waiver: Waiver, checks: set[str]) -> bool:
    """Whether there is such a check, here or among those of compatibility.

    Where the slices of a field could not be told apart, any value of it counts as one.
    """
    if waiver.check in checks | {LATENCY} or waiver.subject in COMPATIBILITY:
        return True
    field, _, value = waiver.check.removesuffix("]").partition("=")
    return bool(value) and f"{field}]" in checks
