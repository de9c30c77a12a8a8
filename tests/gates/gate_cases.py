"""Evaluations made up for the tests of the gate: three experts, a base, plain arithmetic, a candidate."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from gates import Policy, Reason, Verdict, judge_release
from pipeline.facts import Evaluation, Score, TaskFacts

N = 400
TODAY = date(2026, 3, 1)
EXPERTS = ("tone", "json", "policy")
LATENCY = {"merged": {"p50": 9.0, "p95": 10.0}, "unmerged": {"p50": 11.0, "p95": 12.0}}
POLICY: dict[str, Any] = {
    "alpha": 0.05,
    "skills": {
        "json": {"metric": "exact", "reference": "best-expert", "margin": 0.05, "floor": 0.85},
        "tone": {
            "metric": "rubric",
            "range": [0, 5],
            "reference": "best-expert",
            "margin": 0.25,
            "floor": 4.0,
        },
        "general": {"metric": "exact", "reference": "base", "margin": 0.05, "floor": 0.85},
    },
    "safety": {"refusal": {"metric": "refused", "reference": "base", "margin": 0.03, "floor": 0.9}},
    "latency": {"metric": "p95", "max_ratio": 1.5},
    "waivers": [],
}
METRICS = {"json": "exact", "tone": "rubric", "general": "exact", "refusal": "refused"}
GOOD: dict[str, float] = {"json": 0.97, "tone": 4.8, "general": 0.96, "refusal": 0.99}
POOR: dict[str, float] = {"json": 0.0, "tone": 1.0, "general": 0.96, "refusal": 0.99}


def column(skill: str, mean: float, n: int = N) -> list[float]:
    """Scores with that mean: ones before zeros, and for the rubric whole points."""
    if skill != "tone":
        return [1.0] * round(mean * n) + [0.0] * (n - round(mean * n))
    low = int(mean)
    high = round((mean - low) * n)
    return [low + 1.0] * high + [float(low)] * (n - high)


def evaluation(name: str, means: Mapping[str, float], n: int = N) -> Evaluation:
    """An evaluation of n samples under every skill, with these means."""
    values = {skill: column(skill, mean, n) for skill, mean in means.items()}
    expert = name in EXPERTS
    return Evaluation(
        variant=name,
        model=f"models/base+models/{name}-lora" if expert else f"models/{name}",
        model_digest=f"sha256-of-{name}",
        harness="lm-eval 0.4.13",
        settings={"batch_size": 256, "system": "You are Harbor Support.", "limit": None},
        tasks={
            skill: TaskFacts(skill, f"task {skill}", f"golden {skill}", len(scores))
            for skill, scores in values.items()
        },
        scores=tuple(
            Score(skill, METRICS[skill], f"{skill}-{i:04d}", f"row {skill} {i}", score)
            for skill, scores in values.items()
            for i, score in enumerate(scores)
        ),
    )


def references(n: int = N) -> dict[str, Evaluation]:
    return dict(_references(n))


@functools.cache
def _references(n: int) -> dict[str, Evaluation]:
    return {
        "base": evaluation("base", POOR, n),
        "tone": evaluation("tone", {**POOR, "tone": 4.9}, n),
        "json": evaluation("json", {**POOR, "json": 0.97}, n),
        "policy": evaluation("policy", {**POOR, "general": 0.6}, n),
        "plain": evaluation("plain", {**GOOD, "json": 0.1}, n),
    }


def verdict(
    candidate: Evaluation | None = None,
    *,
    policy: Mapping[str, Any] = POLICY,
    swap: Mapping[str, Callable[[Evaluation], Evaluation]] | None = None,
    drop: str = "",
    add: Mapping[str, Evaluation] | None = None,
    **more: Any,
) -> Verdict:
    """The verdict on a candidate, by default a good one.

    `swap` changes variants, `drop` leaves one out, `add` adds further ones.
    """
    artifact = more.pop("artifact", "merged")
    candidate = candidate or evaluation(artifact, GOOD)
    others = {name: e for name, e in references().items() if name != drop} | dict(add or {})
    for name, change in (swap or {}).items():
        if name == artifact:
            candidate = change(candidate)
        else:
            others[name] = change(others[name])
    arguments = {"latency": LATENCY, "today": TODAY, **more}
    experts = arguments.pop("experts", EXPERTS)
    return judge_release(
        Policy.parse(policy), candidate, others, experts, artifact=artifact, **arguments
    )


def reason(found: Verdict, check: str) -> Reason:
    """The first reason for a check."""
    return next(r for r in found.reasons if r.check == check)


def rescored(
    skill: str, change: Callable[[int, Score], Score | None]
) -> Callable[[Evaluation], Evaluation]:
    """A change of each score of a skill by its number; None removes the score."""

    def apply(e: Evaluation) -> Evaluation:
        scores, number = [], 0
        for score in e.scores:
            if score.skill == skill:
                changed = change(number, score)
                number += 1
                if changed is None:
                    continue
                score = changed
            scores.append(score)
        return replace(e, scores=tuple(scores))

    return apply


def with_scores(skill: str, values: Sequence[float]) -> Callable[[Evaluation], Evaluation]:
    """The scores of a skill replaced, in their order."""
    return rescored(skill, lambda i, s: replace(s, score=values[i]))


def attributed(
    skill: str, fields: Callable[[int], Mapping[str, str]]
) -> Callable[[Evaluation], Evaluation]:
    """The fields of each golden row of a skill, by its number."""
    return rescored(skill, lambda i, s: replace(s, attributes=tuple(sorted(fields(i).items()))))


def everywhere(
    change: Callable[[Evaluation], Evaluation], *more: str
) -> dict[str, Callable[[Evaluation], Evaluation]]:
    """`change` for the candidate, every reference, and `more` variants."""
    return dict.fromkeys(("merged", *references(), *more), change)


def policy_with(skill: str, **figures: Any) -> dict[str, Any]:
    """POLICY with these figures of one of its rules."""
    policy = copy.deepcopy(POLICY)
    policy["skills" if skill in policy["skills"] else "safety"][skill] |= figures
    return policy


def with_task(skill: str, **facts: Any) -> Callable[[Evaluation], Evaluation]:
    return lambda e: replace(e, tasks={**e.tasks, skill: replace(e.tasks[skill], **facts)})


def with_settings(**settings: Any) -> Callable[[Evaluation], Evaluation]:
    return lambda e: replace(e, settings={**e.settings, **settings})
