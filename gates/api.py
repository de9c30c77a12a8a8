"""Judge any scores: two files of any harness, or values in memory, by a policy.

    from gates import judge

    verdict = judge("policy.yaml", "reference.jsonl", "candidate.jsonl")
    print(verdict.outcome, verdict.sentence)

It is the gate of a release without the release: no model is loaded, and nothing but numpy and the
special functions of scipy is imported.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from gates import wording
from gates.outcome import Artifact, Reason, Verdict, by_severity, worst
from gates.policy import LATENCY, Policy, Rule
from gates.score_rows import Asked
from gates.score_sources import Source, read_side
from gates.side import Side, align, to_evaluation
from gates.verdict import judge_release
from pipeline.errors import InputError
from pipeline.strict import nearest

# Scores alone do not say whether the weights behind them are merged or quantized.
CANDIDATE: Artifact = "candidate"
REFERENCE = "the reference"  # what stands for each reference that the policy names


def judge(
    policy: Policy | Mapping[str, Any] | str | Path,
    reference: Source,
    candidate: Source,
    *,
    today: date | None = None,
    skill: str = "",
    tasks: Mapping[str, str] | None = None,
    also: Mapping[str, Source] | None = None,
    without_latency: bool = False,
) -> Verdict:
    """The verdict of `policy` on `candidate` against `reference`.

    `policy` is a Policy, its mapping, or a YAML file that holds it or has it under `policy`. A side
    is a path (JSON Lines, lm-eval's log or folder, an evaluation of mergegate: see docs/gate.md), a
    sequence of Score, an Evaluation, or a mapping skill -> metric -> {id: score}. `reference`
    stands for whatever a rule of the policy names as its reference, best-expert included; `also`
    gives the others by name. `skill` is that of rows which name none; `tasks` maps names in the
    files to skills. `today` decides which waivers hold; by default the present day. Scores say nothing
    of time: a policy with a latency check cannot be judged, unless `without_latency` passes it over,
    which the verdict notes.

    Raises InputError where policy or scores cannot be read. Scores that can be read and not be
    judged (NaN, unpaired samples) raise nothing: the verdict is `cannot judge`.
    """
    policy = read_policy(policy)
    asked = _asked(policy, skill, tasks or {}, also or {})
    for other in (reference, *(also or {}).values()):
        _refuse_same_file(other, candidate)
    _refuse_unused(policy, also or {})
    with _no_collection():
        ours = read_side(candidate, asked, "the candidate")
        theirs = read_side(reference, asked, REFERENCE)
        others = {name: read_side(source, asked, name) for name, source in (also or {}).items()}
        _refuse_unmet(asked)
        return _judged(policy, today or date.today(), ours, theirs, others, without_latency)


def read_policy(policy: Policy | Mapping[str, Any] | str | Path) -> Policy:
    """A policy from its mapping, or from a YAML file that holds it or has it under `policy`."""
    if isinstance(policy, Policy):
        return policy
    if isinstance(policy, Mapping):
        return Policy.parse(policy, "policy")
    from pipeline.plain_yaml import load_yaml

    value = load_yaml(Path(policy))
    if isinstance(value, Mapping) and "policy" in value and "skills" in value:
        raise InputError(
            f"{policy}: has skills of its own and a policy besides, so that one of them would be ignored. "
            "Keep one."
        )
    if isinstance(value, Mapping) and "policy" in value:
        return Policy.parse(value["policy"], f"{policy}: policy")
    return Policy.parse(value, f"{policy}")


def _judged(
    policy: Policy,
    today: date,
    ours: Side,
    theirs: Side,
    others: Mapping[str, Side],
    without_latency: bool,
) -> Verdict:
    notes = [note for side in (theirs, *others.values()) for note in _same_bytes(ours, side)]
    notes += align([ours, theirs, *others.values()])
    named = _with_one_reference(policy, others)
    references = {REFERENCE: to_evaluation(theirs, REFERENCE, "reference")}
    references |= {name: to_evaluation(side, name, name) for name, side in others.items()}
    verdict = judge_release(
        named,
        to_evaluation(ours, CANDIDATE, CANDIDATE),
        references,
        (REFERENCE,),
        latency=None,
        today=today,
        artifact=CANDIDATE,
        always=(),
    )
    verdict = replace(verdict, policy_digest=policy.digest)
    if policy.latency is not None:
        verdict, note = _without_times(verdict, policy, today, passed_over=without_latency)
        notes += note
    return replace(verdict, notes=(*verdict.notes, *notes))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the collector of cycles, which would look at every score again and again.

    Scores form no cycles, and of the time it takes to read them this is a fourth.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _with_one_reference(policy: Policy, others: Collection[str]) -> Policy:
    """The policy with the one reference at hand in place of every name it has no scores for."""

    def named(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return tuple(
            rule if rule.reference in others else replace(rule, reference=REFERENCE)
            for rule in rules
        )

    return replace(policy, skills=named(policy.skills), safety=named(policy.safety))


def _asked(policy: Policy, skill: str, tasks: Mapping[str, str], also: Collection[str]) -> Asked:
    names = {rule.name for rule in policy.rules}
    compared = {name for rule in policy.rules for name in rule.references}
    faults = [
        f"{given} is no skill or safety suite of the policy.{nearest(given, names)}"
        for given in dict.fromkeys([*([skill] if skill else []), *tasks.values()])
        if given not in names
    ]
    faults += [
        f"{name} is no reference of the policy.{nearest(name, compared)}"
        for name in also
        if name not in compared
    ]
    if faults:
        raise InputError.of(faults)
    return Asked.of(policy, skill, tasks)


def _refuse_unmet(asked: Asked) -> None:
    """A name that is mapped to a skill and occurs nowhere is a mistyped one."""
    faults = [
        f"{name} is to stand for the skill {asked.tasks[name]}, but no file names it. "
        "Correct the name, or leave it out."
        for name in sorted(set(asked.tasks) - asked.met)
    ]
    if faults:
        raise InputError.of(faults)


def _refuse_same_file(reference: Source, candidate: Source) -> None:
    if not (isinstance(reference, str | Path) and isinstance(candidate, str | Path)):
        return
    if Path(reference).resolve() == Path(candidate).resolve():
        raise InputError(
            f"{candidate}: is given as the reference and as the candidate, so nothing would be "
            "compared. Name the scores of two variants."
        )


def _refuse_unused(policy: Policy, also: Collection[str]) -> None:
    """A reference that no rule would look at is one that the caller believes to be compared with."""
    if policy.rules and all(rule.reference in also for rule in policy.rules):
        names = " and ".join(sorted({rule.reference for rule in policy.rules}))
        raise InputError(
            f"every rule of the policy compares with {names}, which is given besides, so the reference "
            f"itself would not be looked at. Give the scores of {names} as the reference."
        )


def _same_bytes(ours: Side, theirs: Side) -> list[str]:
    if ours.digest != theirs.digest:
        return []
    return [
        f"{ours.name} and {theirs.name} hold the same, byte for byte. "
        "Check that neither is a copy of the other."
    ]


def _without_times(
    verdict: Verdict, policy: Policy, today: date, *, passed_over: bool
) -> tuple[Verdict, list[str]]:
    """The verdict where the policy asks for a latency that scores cannot show."""
    if passed_over:
        return verdict, ["The policy's latency check was passed over: scores say nothing of time."]
    waiver = policy.waiver(LATENCY, today)
    way_out = "Judge without it (`--no-latency`), or judge a release, which measures it."
    text = wording.cannot_judge(LATENCY, ["scores say nothing of time"], way_out)
    words = f"waived {waiver.words}" if waiver else ""
    reasons = by_severity(
        (*verdict.reasons, Reason(CANDIDATE, LATENCY, "cannot judge", text, words))
    )
    waivers = (*verdict.waivers, *((waiver,) if waiver else ()))
    return replace(verdict, outcome=worst(reasons), reasons=reasons, waivers=waivers), []
