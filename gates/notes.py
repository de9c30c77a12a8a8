"""What is told beside the verdict and decides nothing: notes, and skills that got better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gates import wording
from gates.decide import DIGITS, Pair, chance_of_no_gain, compared, oriented
from gates.evidence import Evidence
from gates.policy import Policy
from gates.row import Improvement
from gates.rule import BASE, PLAIN, Rule
from gates.rules import Judged
from gates.statistics import holm


def notes(
    policy: Policy, evidence: Evidence, judged: Sequence[Judged], uses: Mapping[str, int] | None
) -> tuple[str, ...]:
    """A merge that loses to plain task arithmetic, weak references, golden sets that are used up, served weights."""
    found = [_loses_to_plain(evidence, judged), *map(_weaker_than_base, judged)]
    found += _behind_servers(evidence)
    found += [wording.fresh_examples(why) for s in policy.sealed if (why := s.used_up(uses))]
    return tuple(filter(None, found))


def improvements(policy: Policy, judged: Sequence[Judged]) -> tuple[Improvement, ...]:
    """Skills at which the candidate is shown to be better than its reference.

    All claims hold together but for a chance of the policy's alpha: Holm over every skill, since
    whoever reads a list of gains has looked at all skills to make it.
    """
    tested = [(one, one.pair) for one in judged if one.pair and one.rule.kind == "skill"]
    chances = [chance_of_no_gain(one.rule, pair) for one, pair in tested]
    held = holm(chances, policy.alpha) if chances else []
    return tuple(
        _improvement(one, pair, p)
        for (one, pair), p, shown in zip(tested, chances, held, strict=True)
        if shown
    )


def _improvement(one: Judged, pair: Pair, p: float) -> Improvement:
    c = compared(one.rule, pair, one.rule.margin)
    return Improvement(
        artifact=one.rows[0].artifact,
        check=one.rule.name,
        reference=pair.variant,
        difference=round(c.difference, DIGITS),
        p=float(f"{p:.3g}"),
        text=wording.improved(one.rule, pair.label, c),
    )


def _behind_servers(evidence: Evidence) -> list[str]:
    """How it is known that servers had the weights that were scored, or who vouches for it."""
    served = {
        evidence.label(name): one.served
        for name, one in evidence.evaluations.items()
        if one.served is not None and not one.served.faults
    }
    checked = {label: one for label, one in served.items() if one.identity == "checked"}
    vouched: dict[str, list[str]] = {}
    for label, one in served.items():
        if one.identity == "trusted":
            vouched.setdefault(one.by, []).append(label)
    ours = evidence.candidate.served
    apart = ours.apart_from if ours else ""
    told = [wording.checked_behind_servers(evidence.artifact, checked, apart)] if checked else []
    return told + [wording.vouched_for(evidence.artifact, by, of) for by, of in vouched.items()]


def _loses_to_plain(evidence: Evidence, judged: Sequence[Judged]) -> str:
    """A note where plain task arithmetic does better at every skill, and whether that is shown."""
    skills = [one for one in judged if one.rule.kind == "skill"]
    pairs = [(one.rule, one.against(PLAIN)) for one in skills]
    if not pairs or PLAIN not in evidence.evaluations or evidence.is_candidate(PLAIN):
        return ""
    lost = [(rule, pair) for rule, pair in pairs if pair and _is_worse(rule, pair)]
    if len(lost) < len(pairs):
        return ""
    found = [(rule, compared(rule, pair, 0.0)) for rule, pair in lost]
    return wording.loses_to_plain(evidence.artifact, found)


def _is_worse(rule: Rule, pair: Pair) -> bool:
    ours, theirs = oriented(rule, pair)
    return bool(ours.mean() < theirs.mean())


def _weaker_than_base(one: Judged) -> str:
    """A note where the base itself does better than what the candidate is compared with."""
    if one.pair is None or BASE not in one.held or one.pair.variant == BASE:
        return ""
    theirs, base = float(one.pair.theirs.mean()), one.held[BASE].mean
    worse = theirs < base if one.rule.direction == "higher" else theirs > base
    return wording.weaker_than_base(one.rule, one.pair.label, theirs, base) if worse else ""
