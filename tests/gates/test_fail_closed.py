"""The gate fails closed: every kind of missing, broken or exchanged evidence, each by its name.

Each case changes one thing of a release that would be promoted; none may be promoted after it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from gate_cases import (
    GOOD,
    POLICY,
    attributed,
    evaluation,
    everywhere,
    policy_with,
    reason,
    references,
    rescored,
    verdict,
    with_settings,
    with_task,
)

from gates import Policy, Verdict
from pipeline.compat import CHECKS
from pipeline.errors import InputError
from pipeline.facts import Evaluation, Score
from pipeline.waivers import COMPATIBILITY

Change = Callable[[Evaluation], Evaluation]


def eighth(**changes: Any) -> Change:
    """The eighth sample of json is changed."""
    return rescored("json", lambda i, s: replace(s, **changes) if i == 7 else s)


def without(skill: str) -> Change:
    """No trace of a skill."""

    def change(e: Evaluation) -> Evaluation:
        return replace(
            e,
            tasks={name: facts for name, facts in e.tasks.items() if name != skill},
            scores=tuple(score for score in e.scores if score.skill != skill),
        )

    return change


def doubled(e: Evaluation) -> Evaluation:
    """The eighth sample of json a second time, as if there were one more of it."""
    again = next(s for s in e.scores if s.sample_id == "json-0007")
    facts = replace(e.tasks["json"], samples=e.tasks["json"].samples + 1)
    return replace(e, tasks={**e.tasks, "json": facts}, scores=(*e.scores, again))


def renamed(i: int, score: Score) -> Score:
    return replace(score, sample_id=f"other-{i}")


def only(variant: str, change: Change) -> dict[str, Any]:
    return {"swap": {variant: change}}


def of_policy(**changes: Any) -> dict[str, Any]:
    return {"policy": policy_with("json", **changes)}


# What is changed, and words that the verdict must then hold.
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "missing skill": (only("merged", without("json")), "the candidate was not evaluated on it"),
    "missing skill of the reference": (
        only("json", without("json")),
        "json-lora was not evaluated on it",
    ),
    "missing skill everywhere": (
        {"swap": everywhere(without("json"))},
        "the candidate was not evaluated on it",
    ),
    "missing variant": (
        {"drop": "plain"},
        "plain cannot be compared, because it was not evaluated",
    ),
    "missing reference": (
        {"drop": "json"},
        "json cannot be compared, because it was not evaluated",
    ),
    "missing champion": (
        of_policy(also={"champion": {"margin": 0.05}}),
        "champion, which it must be compared with, was not evaluated",
    ),
    "no samples": (
        {"swap": everywhere(rescored("json", lambda i, s: None))},
        "has no score under the metric exact",
    ),
    "no samples and none expected": (
        {
            "swap": everywhere(
                lambda e: with_task("json", samples=0)(rescored("json", lambda i, s: None)(e))
            )
        },
        "has no score under the metric exact",
    ),
    "NaN": (only("merged", eighth(score=float("nan"))), "no finite number"),
    "NaN in the reference": (only("json", eighth(score=float("nan"))), "no finite number"),
    "NaN everywhere": (
        {"swap": everywhere(rescored("json", lambda i, s: replace(s, score=float("nan"))))},
        "no finite number",
    ),
    "Inf": (only("merged", eighth(score=float("inf"))), "no finite number"),
    "minus Inf in the reference": (only("json", eighth(score=float("-inf"))), "no finite number"),
    "unpaired ids": (only("json", rescored("json", renamed)), "answered 800 samples"),
    "unpaired ids of a bystander": (only("plain", rescored("json", renamed)), "answered 800"),
    "unpaired digests": (
        only("json", eighth(sample_digest="changed")),
        "were asked different things in sample json-0007",
    ),
    "unpaired digests of a bystander": (
        only("plain", eighth(sample_digest="changed")),
        "the candidate and plain were asked different things in sample json-0007",
    ),
    "changed golden set": (
        only("merged", with_task("json", golden_digest="another")),
        "the golden set's digest of json-lora is 'golden json', that of the candidate 'another'",
    ),
    "changed task": (
        only("json", with_task("json", task_digest="another")),
        "the task's digest of json-lora is 'another'",
    ),
    "changed prompt template": (
        only("json", with_settings(prompts_digest="other prompts")),
        "its setting prompts_digest was 'other prompts'",
    ),
    "other harness version": (
        only("json", lambda e: replace(e, harness="lm-eval 0.4.12")),
        "its harness was 'lm-eval 0.4.12'",
    ),
    "other decoding setting": (
        only("merged", with_settings(temperature=0.7)),
        "its setting temperature was '(absent)', that of the candidate 0.7",
    ),
    "duplicated samples": (only("merged", doubled), "more than one score for sample json-0007"),
    "duplicated samples everywhere": (
        {"swap": everywhere(doubled)},
        "more than one score for sample json-0007",
    ),
    "scores outside the range": (only("merged", eighth(score=1.5)), "a score outside 0 to 1"),
    "scores below the range": (only("json", eighth(score=-0.5)), "a score outside 0 to 1"),
    "unmatched metric": (
        of_policy(metric="schema"),
        "no score under the metric schema; it has exact",
    ),
    "unmatched skill": (
        {"policy": {**POLICY, "safety": {**POLICY["safety"], "spam": POLICY["safety"]["refusal"]}}},
        "spam: cannot be judged, because the candidate was not evaluated on it",
    ),
    "unmatched slice": (of_policy(slices={"language": {}}), "language is not recorded for 400"),
    "unmatched value of a slice": (
        {
            "swap": everywhere(attributed("json", lambda i: {"language": "de"})),
            **of_policy(slices={"language": {"only": ["en"]}}),
        },
        "no sample has language=en",
    ),
    "unmatched cluster": (of_policy(cluster="document"), "document is not recorded for 400"),
    "unmatched reference": (of_policy(reference="jsn"), "jsn, which it must be compared with"),
    "unmatched score": (
        {"policy": {**POLICY, "safety": {}}},
        "refusal: was evaluated, but the policy does not say what it must show",
    ),
    "policy changed after the scores": (
        {"fixed_policy": Policy.parse(policy_with("json", margin=0.02)).fixed_digest},
        "the policy was changed after the scores were made",
    ),
    "weak reference": (
        only("json", rescored("json", lambda i, s: replace(s, score=float(i < 240)))),
        "its reference json-lora itself scores 60 %, under the floor of 85 %",
    ),
    "other weights than registered": (
        {"registered": "sha256-of-others"},
        "the scores are of other weights than those to be registered",
    ),
    "the candidate is its own reference": (
        only("json", lambda e: replace(e, model_digest="sha256-of-merged")),
        "is the same model as the candidate",
    ),
    "exchanged files": (
        {"swap": {"json": lambda e: evaluation("tone", GOOD)}},
        "the evaluation filed as json is of tone",
    ),
    "a trial on the first samples": (
        {"swap": everywhere(with_settings(limit=400))},
        "only the first 400 samples of each set were scored",
    ),
    "latency was not measured": ({"latency": None}, "latency: cannot be judged"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gate_cannot_judge_with(case: str) -> None:
    arguments, words = CASES[case]
    found = verdict(**copy.deepcopy(arguments))
    assert found.outcome == "cannot judge"
    assert any(words in r.text for r in found.reasons if r.outcome == "cannot judge")
    assert Verdict.from_json(found.to_json()) == found


def test_the_release_that_the_cases_change_would_be_promoted() -> None:
    """Else they would show nothing."""
    fixed = Policy.parse(POLICY).fixed_digest
    assert verdict(fixed_policy=fixed, registered="sha256-of-merged").outcome == "promote"


@pytest.mark.parametrize(
    "value", [None, {}, [], {"skills": {}, "safety": {}}, {"alpha": 0.05, "safety": {}}]
)
def test_an_empty_policy_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="skills"):
        Policy.parse(value)


ODD: list[Any] = [
    *(None, 3, True, "", "x" * 5000, "\ud800", "\x1f", "{both}", [], {}, [1], {"a": "b"}),
    *(float("nan"), 10**400, ("a",), (("a",),), (("a", "b", "c"),), ((1, 2),), "ab", ["ab"]),
]


@pytest.mark.parametrize("place", [f.name for f in dataclasses.fields(Score)])
@pytest.mark.parametrize("variant", ["merged", "json"])
def test_whatever_stands_in_a_score_the_gate_says_that_it_cannot_judge(
    place: str, variant: str
) -> None:
    """It raises nothing, for the reader of a verdict should learn what is wrong from it."""
    mark = attributed("json", lambda i: {"a": str(i % 2)})
    marked = {
        name: mark(e) for name, e in (references() | {"merged": evaluation("merged", GOOD)}).items()
    }
    policy = policy_with("json", slices={"a": {"margin": 0.2}}, cluster="a")
    for odd in ODD:
        change = eighth(**{place: odd})
        given = {**marked, variant: change(marked[variant])}
        found = verdict(given.pop("merged"), policy=policy, add=given)
        assert found.outcome == "cannot judge", odd
        assert Verdict.from_json(found.to_json()) == found


# A policy that was fixed


@pytest.mark.parametrize(
    "path", [("skills", "json", "margin"), ("safety", "refusal", "floor"), ("alpha",)]
)
def test_a_policy_that_was_loosened_after_the_scores_is_noticed(path: tuple[str, ...]) -> None:
    loose = copy.deepcopy(POLICY)
    *parents, last = path
    inner = loose
    for key in parents:
        inner = inner[key]
    inner[last] *= 1.05
    found = verdict(policy=loose, fixed_policy=Policy.parse(POLICY).fixed_digest)
    assert found.outcome == "cannot judge"
    assert found.reasons[0].check == "the policy"
    assert found.reasons[0].text.endswith(
        "Put it back; or, to judge by the new one, evaluate the candidate again, which fixes it."
    )


def test_a_waiver_may_be_added_after_the_scores_for_it_answers_them() -> None:
    policy = Policy.parse({**POLICY, "waivers": [WAIVER]})
    assert policy.fixed_digest == Policy.parse(POLICY).digest != policy.digest
    found = verdict(BAD, policy={**POLICY, "waivers": [WAIVER]}, fixed_policy=policy.fixed_digest)
    assert found.outcome == "promote"


def test_neither_a_changed_policy_nor_other_weights_can_be_waived() -> None:
    cases: dict[str, dict[str, Any]] = {
        "the policy": {"fixed_policy": "another"},
        "the weights": {"registered": "another"},
    }
    for check, stated in cases.items():
        policy = {**POLICY, "waivers": [{**WAIVER, "check": check}]}
        found = verdict(policy=policy, **stated)
        assert found.outcome == "cannot judge"
        assert all(not r.waiver for r in found.reasons)


# Waivers

WAIVER = {"check": "json", "name": "Ann Lee", "reason": "new schema", "expires": "2026-06-30"}
BAD = evaluation("merged", {**GOOD, "json": 0.38})


def test_a_valid_waiver_shows_in_the_verdict() -> None:
    found = verdict(BAD, policy={**POLICY, "waivers": [WAIVER]})
    assert found.outcome == "promote"
    assert found.sentence.endswith("Waived: json.")
    assert reason(found, "json").waiver == "waived by Ann Lee until 2026-06-30: new schema"
    assert [w.to_json() for w in found.waivers] == [WAIVER]


def test_an_expired_waiver_blocks() -> None:
    policy = {**POLICY, "waivers": [WAIVER]}
    assert verdict(BAD, policy=policy, today=date(2026, 6, 30)).outcome == "promote"
    found = verdict(BAD, policy=policy, today=date(2026, 7, 1))
    assert found.outcome == "cannot judge"
    assert "the waiver by Ann Lee expired on 2026-06-30" in found.reasons[0].text
    assert found.waivers == ()


@pytest.mark.parametrize(
    "check", ["jsno", "json[language=de]", "json[vs plain]", "latencies", "candidate"]
)
def test_a_waiver_of_an_unknown_check_blocks(check: str) -> None:
    found = verdict(policy={**POLICY, "waivers": [{**WAIVER, "check": check}]})
    assert found.outcome == "cannot judge"
    assert found.reasons[0].text == (
        f"{check}: the waiver by Ann Lee names no check of this release. Correct the name, or "
        "remove the waiver."
    )


@pytest.mark.parametrize("check", ["licences", "lineage:acme/tone-lora", "latency"])
def test_a_waiver_of_a_check_that_is_made_elsewhere_is_none_of_an_unknown_one(check: str) -> None:
    policy = {**POLICY, "waivers": [{**WAIVER, "check": check}]}
    assert verdict(policy=policy).outcome == "promote"
    assert verdict(policy=policy, artifact="quantized").outcome == "promote"


def test_the_checks_of_compatibility_are_those_that_there_are() -> None:
    assert frozenset(CHECKS) == COMPATIBILITY


@pytest.mark.parametrize("key", ["check", "name", "reason", "expires"])
@pytest.mark.parametrize("value", [None, "", "   "])
def test_a_waiver_without_a_person_a_reason_or_a_day_is_refused(key: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"waivers\[1\]\.{key} is"):
        Policy.parse({**POLICY, "waivers": [{**WAIVER, key: value}]})
