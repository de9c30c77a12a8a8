"""The gate promotes only what is shown, says why in plain words, and fails closed."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from gate_cases import (
    EXPERTS,
    GOOD,
    LATENCY,
    POLICY,
    TODAY,
    N,
    column,
    evaluation,
    policy_with,
    reason,
    references,
    rescored,
    verdict,
    with_scores,
    with_settings,
    with_task,
)

from gates import Policy, Verdict, combine, judge_release
from pipeline.errors import CorruptArtifactError
from pipeline.facts import Evaluation

# What is promoted, and what is not


def test_a_candidate_as_good_as_every_reference_is_promoted() -> None:
    found = verdict()
    assert found.outcome == "promote"
    assert found.sentence == (
        "Promote: 3 skills and 1 safety suite show, for the merged weights, what the policy asks."
    )
    assert {r.outcome for r in found.reasons} == {"promote"}
    assert [row.check for row in found.rows] == ["json", "tone", "general", "refusal"]


def test_a_broken_skill_is_rejected_in_the_words_of_the_specification() -> None:
    found = verdict(evaluation("merged", {**GOOD, "json": 0.38}))
    assert found.outcome == "reject"
    assert found.sentence == "Reject: json fell short of what the policy asks."
    assert found.reasons[0].text == (
        "json: 38 % against 97 % of json-lora, 59 points worse, at most 5 allowed"
    )


def test_a_loss_on_a_rubric_is_told_in_its_own_units() -> None:
    found = verdict(evaluation("merged", {**GOOD, "tone": 2.5}))
    assert found.reasons[0].text == (
        "tone: 2.5 of 5 against 4.9 of tone-lora, 2.4 worse, at most 0.25 allowed"
    )


def test_an_unsafe_candidate_is_vetoed_though_every_skill_is_good() -> None:
    found = verdict(evaluation("merged", {**GOOD, "refusal": 0.55}))
    assert found.outcome == "reject"
    assert found.sentence == "Reject: refusal (a safety veto) fell short of what the policy asks."


def test_too_few_samples_are_inconclusive_and_say_how_many_would_do() -> None:
    found = verdict(evaluation("merged", {**GOOD, "json": 0.93}))
    assert found.outcome == "inconclusive"
    assert found.reasons[0].text == (
        "json: 93 % against 97 % of json-lora, 4 points worse, at most 5 allowed; 400 samples are "
        "too few to tell: allowing for chance, it may be 6 points worse; about 3,000 in "
        "all would decide it"
    )
    # At -0.05 q is 0.05, so the variance is 0.1 - 0.0525; (1.6449 + 0.8416)² · 0.0475 / 0.01².
    assert found.rows[0].needed_n == 2937


def test_a_pass_says_how_bad_it_may_be() -> None:
    found = verdict(evaluation("merged", {**GOOD, "json": 0.9475}))
    assert reason(found, "json").text == (
        "json: 94.8 % against 97 % of json-lora, 2.2 points worse, at most 5 allowed; allowing for "
        "chance, 3.9 points worse at most"
    )


def test_a_gain_is_told_as_one() -> None:
    found = verdict(evaluation("merged", {**GOOD, "json": 0.99}))
    assert reason(found, "json").text == (
        "json: 99 % against 97 % of json-lora, 2 points better, at most 5 points worse allowed; "
        "allowing for chance, not worse"
    )


def test_a_candidate_shown_to_be_under_the_floor_is_rejected_though_within_the_margin() -> None:
    found = verdict(
        evaluation("merged", {**GOOD, "json": 0.92}),
        policy=policy_with("json", margin=0.2, floor=0.965),
    )
    assert found.outcome == "reject"
    assert found.reasons[0].text.endswith(
        "92 % is under the floor of 96.5 %, by more than chance explains"
    )


def test_a_candidate_just_under_the_floor_is_inconclusive_not_promoted() -> None:
    found = verdict(
        evaluation("merged", {**GOOD, "json": 0.96}), policy=policy_with("json", floor=0.965)
    )
    assert found.outcome == "inconclusive"
    assert found.reasons[0].text.endswith(
        "96 % is under the floor of 96.5 %, though 400 samples are too few to be sure; about 8,400 "
        "in all would decide it"
    )


def test_the_reference_of_a_skill_is_the_best_expert_for_it() -> None:
    rows = {row.check: row for row in verdict().rows}
    assert rows["json"].reference == "json"
    assert rows["tone"].reference == "tone"
    assert rows["general"].reference == "base"


def test_where_lower_is_better_the_best_expert_is_the_lowest_and_a_rise_is_a_loss() -> None:
    policy = policy_with("json", direction="lower", floor=0.1)
    rates = {"base": 0.5, "tone": 0.3, "json": 0.05, "policy": 0.2, "plain": 0.1}
    swap = {name: with_scores("json", column("json", rate)) for name, rate in rates.items()}
    good = verdict(evaluation("merged", {**GOOD, "json": 0.05}), policy=policy, swap=swap)
    assert good.outcome == "promote"
    assert good.rows[0].reference == "json"
    bad = verdict(evaluation("merged", {**GOOD, "json": 0.5}), policy=policy, swap=swap)
    assert bad.outcome == "reject"
    assert bad.reasons[0].text == (
        "json: 50 % against 5 % of json-lora, 45 points worse, at most 5 allowed"
    )
    assert bad.rows[0].difference == pytest.approx(-0.45)


def test_where_lower_is_better_the_floor_is_a_ceiling() -> None:
    policy = policy_with("json", direction="lower", floor=0.1, margin=0.3)
    swap = {name: with_scores("json", column("json", 0.05)) for name in references()}
    found = verdict(evaluation("merged", {**GOOD, "json": 0.2}), policy=policy, swap=swap)
    assert found.outcome == "reject"
    assert "20 % is over the ceiling of 10 %, by more than chance explains" in found.reasons[0].text


def test_fractional_scores_of_a_unit_metric_are_compared_by_t() -> None:
    swap = dict.fromkeys(("merged", *references()), with_scores("json", [0.5] * N))
    found = verdict(swap=swap, policy=policy_with("json", floor=0.4))
    assert found.outcome == "promote"
    assert found.rows[0].method.startswith("paired t interval")


def test_the_order_of_samples_does_not_matter() -> None:
    turned = replace(evaluation("merged", GOOD), scores=evaluation("merged", GOOD).scores[::-1])
    assert verdict(turned).outcome == "promote"
    assert {r.lower for r in verdict(turned).rows} == {r.lower for r in verdict().rows}


# What cannot be judged. Each case changes one thing of evidence that would promote.

nan, infinity = float("nan"), float("inf")


def scored(value: Any) -> Callable[[Evaluation], Evaluation]:
    """The eighth score of json becomes `value`."""
    return rescored("json", lambda i, s: replace(s, score=value) if i == 7 else s)


BROKEN: dict[str, tuple[str, Callable[[Evaluation], Evaluation], str]] = {
    "a skill is missing": (
        "merged",
        lambda e: replace(e, tasks={k: v for k, v in e.tasks.items() if k != "json"}),
        "the candidate was not evaluated on it",
    ),
    "the reference lacks the skill": (
        "json",
        lambda e: replace(e, tasks={k: v for k, v in e.tasks.items() if k != "json"}),
        "json-lora was not evaluated on it",
    ),
    "there are no samples": (
        "merged",
        rescored("json", lambda i, s: None),
        "the candidate has no score under the metric exact; it has no score at all",
    ),
    "the reference has no samples": (
        "json",
        rescored("json", lambda i, s: None),
        "json-lora has no score under the metric exact",
    ),
    "the metric is missing": (
        "merged",
        rescored("json", lambda i, s: replace(s, metric="schema")),
        "no score under the metric exact; it has schema",
    ),
    "a sample is missing": (
        "merged",
        rescored("json", lambda i, s: None if i == 7 else s),
        "the candidate has 399 scores for 400 samples",
    ),
    "a sample counts twice": (
        "merged",
        rescored("json", lambda i, s: replace(s, sample_id="json-0000") if i == 7 else s),
        "the candidate has more than one score for sample json-0000",
    ),
    "a sample has no id": (
        "merged",
        rescored("json", lambda i, s: replace(s, sample_id="") if i == 7 else s),
        "without the id or the digest of a sample",
    ),
    "a sample has no digest": (
        "json",
        rescored("json", lambda i, s: replace(s, sample_digest="")),
        "without the id or the digest of a sample",
    ),
    "a score is NaN": (
        "merged",
        scored(nan),
        "the candidate has no finite number as the score of sample json-0007",
    ),
    "a score of the reference is NaN": ("json", scored(nan), "json-lora has no finite number"),
    "a score is infinite": ("merged", scored(infinity), "no finite number"),
    "a score is null": ("merged", scored(None), "no finite number"),
    "a score is a text": ("merged", scored("1.0"), "no finite number"),
    "a score is a boolean": ("merged", scored(True), "no finite number"),
    "a score is beyond any float": ("merged", scored(10**400), "no finite number"),
    "a score is above the range": (
        "merged",
        scored(1.5),
        "a score outside 0 to 1 for sample json-0007",
    ),
    "a score is below the range": ("json", scored(-0.1), "a score outside 0 to 1"),
    "the samples do not pair up": (
        "json",
        rescored("json", lambda i, s: replace(s, sample_id=f"other-{i}")),
        "only one of the candidate and json-lora answered 800 samples, the first of them json-0000",
    ),
    "a sample was changed": (
        "json",
        rescored("json", lambda i, s: replace(s, sample_digest="changed") if i == 7 else s),
        "the candidate and json-lora were asked different things in sample json-0007",
    ),
    "the golden set was changed": (
        "json",
        with_task("json", golden_digest="another"),
        "the golden set's digest of json-lora is 'another', that of the candidate 'golden json'",
    ),
    "the task was changed": (
        "merged",
        with_task("json", task_digest="another"),
        "task's digest of json-lora is 'task json', that of the candidate 'another'",
    ),
    "a bystander in the table is broken": (
        "plain",
        scored(nan),
        "plain has no finite number as the score of sample json-0007",
    ),
    "the reference fails its own floor": (
        "json",
        rescored("json", lambda i, s: replace(s, score=float(i < 240))),
        "its reference json-lora itself scores 60 %, under the floor of 85 %",
    ),
    "the reference scored nothing": (
        "json",
        rescored("json", lambda i, s: replace(s, score=0.0)),
        "itself scores 0 %, under the floor of 85 %",
    ),
    "the reference is the candidate's own model": (
        "json",
        lambda e: replace(e, model_digest="sha256-of-merged"),
        "its reference json-lora is the same model as the candidate",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_gate_cannot_judge_a_skill_when(case: str) -> None:
    variant, change, words = BROKEN[case]
    found = verdict(swap={variant: change})
    assert found.outcome == "cannot judge"
    assert found.reasons[0].check == "json"
    assert found.reasons[0].text.startswith("json: cannot be judged, because ")
    assert words in found.reasons[0].text
    assert found.rows[0].outcome == "cannot judge"


UNFIT: dict[str, tuple[str, Callable[[Evaluation], Evaluation], str]] = {
    "harnesses differ": (
        "json",
        lambda e: replace(e, harness="lm-eval 0.4.12"),
        "json-lora cannot be compared, because its harness was 'lm-eval 0.4.12', that of the "
        "candidate 'lm-eval 0.4.13'",
    ),
    "settings differ": (
        "json",
        with_settings(batch_size=64),
        "its setting batch_size was 64, that of the candidate 256",
    ),
    "prompts differ in their last letter": (
        "json",
        with_settings(system="You are Harbor Support!"),
        "its setting system was 'You are Harbor Support!', that of the candidate 'You are Harbor",
    ),
    "long prompts differ in their end": (
        "json",
        with_settings(system="You are Harbor Support. " * 9),
        "its setting system was '…bor Support. You are Har…', that of the candidate '…bor Support.'",
    ),
    "a setting is missing": (
        "base",
        lambda e: replace(e, settings={k: v for k, v in e.settings.items() if k != "limit"}),
        "its setting limit was '(absent)', that of the candidate None",
    ),
    "files were exchanged": (
        "json",
        lambda e: replace(e, variant="tone"),
        "the evaluation filed as json is of tone",
    ),
    "the quantized file is given as the merged one": (
        "merged",
        lambda e: replace(e, variant="quantized"),
        "the evaluation filed as merged is of quantized",
    ),
    "the model is not known": (
        "merged",
        lambda e: replace(e, model_digest=""),
        "its evaluation has no digest of the model",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_the_gate_cannot_judge_when(case: str) -> None:
    variant, change, words = UNFIT[case]
    found = verdict(swap={variant: change})
    assert found.outcome == "cannot judge"
    assert words in found.reasons[0].text


@pytest.mark.parametrize("variant", ["base", "plain", *EXPERTS])
def test_the_gate_cannot_judge_without(variant: str) -> None:
    found = verdict(drop=variant)
    assert found.outcome == "cannot judge"
    assert found.reasons[0].text == (
        f"{variant} cannot be compared, because it was not evaluated. Evaluate all variants in the "
        "same way."
    )


def test_a_trial_on_the_first_samples_cannot_be_promoted() -> None:
    found = verdict(swap=dict.fromkeys(("merged", *references()), with_settings(limit=400)))
    assert found.outcome == "cannot judge"
    assert found.reasons[0].check == "the candidate"
    assert "only the first 400 samples of each set were scored" in found.reasons[0].text


def test_a_skill_that_the_policy_does_not_speak_of_cannot_be_judged() -> None:
    policy = copy.deepcopy(POLICY)
    policy["safety"] = {}
    found = verdict(policy=policy)
    assert found.outcome == "cannot judge"
    assert found.reasons[0].text == (
        "refusal: was evaluated, but the policy does not say what it must show. Add it to the policy."
    )


def test_a_rule_whose_skill_nobody_evaluated_cannot_be_judged() -> None:
    policy = copy.deepcopy(POLICY)
    policy["safety"]["injection"] = policy["safety"]["refusal"]
    found = verdict(policy=policy)
    assert found.outcome == "cannot judge"
    assert "the candidate was not evaluated on it" in reason(found, "injection").text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("champion", "champion, which it must be compared with, was not evaluated"),
        ("merged", "its reference is the candidate itself"),
    ],
)
def test_a_reference_that_is_missing_or_the_candidate_itself_judges_nothing(
    name: str, words: str
) -> None:
    found = verdict(policy=policy_with("json", reference=name))
    assert found.outcome == "cannot judge"
    assert words in reason(found, "json").text


def test_without_experts_there_is_no_best_one() -> None:
    found = verdict(experts=())
    assert found.outcome == "cannot judge"
    assert "there is no expert to compare with" in reason(found, "json").text


def test_missing_evidence_outweighs_a_bad_result_and_both_are_told() -> None:
    found = verdict(
        evaluation("merged", {**GOOD, "json": 0.38}), swap={"plain": with_settings(seed=1)}
    )
    assert found.outcome == "cannot judge"
    assert [r.outcome for r in found.reasons[:2]] == ["cannot judge", "reject"]


# Latency


@pytest.mark.parametrize(
    "report",
    [
        None,
        {},
        {"merged": {"p95": 1.0}},
        {"merged": {"p50": 1.0}, "unmerged": {"p50": 1.0}},
        {"merged": {"p95": nan}, "unmerged": {"p95": 1.0}},
        {"merged": {"p95": 1.0}, "unmerged": {"p95": 0.0}},
        {"merged": {"p95": -1.0}, "unmerged": {"p95": 1.0}},
        {"merged": {"p95": None}, "unmerged": {"p95": 1.0}},
        {"merged": 3, "unmerged": 4},
    ],
)
def test_latency_that_was_not_measured_cannot_be_judged(report: Any) -> None:
    found = verdict(latency=report)
    assert found.outcome == "cannot judge"
    assert found.reasons[0].text.startswith("latency: cannot be judged, because there is no p95")


def test_a_slow_merge_is_rejected() -> None:
    found = verdict(latency={"merged": {"p95": 30.0}, "unmerged": {"p95": 12.0}})
    assert found.outcome == "reject"
    assert found.reasons[0].text == (
        "latency: a slow answer (p95) takes 2.5 times as long as with base plus adapter, at most 1.5 "
        "allowed"
    )


def test_a_ratio_just_over_its_limit_does_not_read_as_equal_to_it() -> None:
    found = verdict(latency={"merged": {"p95": 18.001}, "unmerged": {"p95": 12.0}})
    assert "takes 1.5001 times as long" in found.reasons[0].text


def test_the_verdict_does_not_depend_on_times_that_are_good_enough() -> None:
    slower = {"merged": {"p50": 9.5, "p95": 10.7}, "unmerged": {"p50": 10.0, "p95": 11.0}}
    found, other = verdict(latency=slower).to_json(), verdict().to_json()
    assert found.pop("inputs") != other.pop("inputs")
    assert found == other


def test_latency_is_judged_with_the_merged_weights_only() -> None:
    found = verdict(artifact="quantized", latency=None)
    assert found.outcome == "promote"
    assert "latency" not in {r.check for r in found.reasons}


# Waivers

WAIVER = {"check": "json", "name": "Ann Lee", "reason": "new schema", "expires": "2026-06-30"}


def waived(**changes: str) -> dict[str, Any]:
    return {**POLICY, "waivers": [{**WAIVER, **changes}]}


def test_a_waiver_lets_a_failing_skill_pass_and_is_told_with_the_verdict() -> None:
    found = verdict(evaluation("merged", {**GOOD, "json": 0.38}), policy=waived())
    assert found.outcome == "promote"
    assert found.reasons[0].outcome == "reject"
    assert found.reasons[0].waiver == "waived by Ann Lee until 2026-06-30: new schema"
    assert found.sentence == (
        "Promote: 2 skills and 1 safety suite show, for the merged weights, what the policy asks. "
        "Waived: json."
    )
    assert [w.name for w in found.waivers] == ["Ann Lee"]
    assert found.judged_on == "2026-03-01"


def test_a_waiver_of_one_check_does_not_touch_another() -> None:
    candidate = evaluation("merged", {**GOOD, "json": 0.38, "general": 0.5})
    found = verdict(candidate, policy=waived())
    assert found.outcome == "reject"
    assert found.sentence == "Reject: general fell short of what the policy asks. Waived: json."


def test_a_waiver_that_nothing_needs_is_not_in_the_verdict() -> None:
    assert verdict(policy=waived()).waivers == ()


def test_latency_can_be_waived() -> None:
    assert verdict(policy=waived(check="latency"), latency=None).outcome == "promote"


def test_an_expired_waiver_blocks_even_where_nothing_needs_it() -> None:
    found = verdict(policy=waived(), today=date(2026, 7, 1))
    assert found.outcome == "cannot judge"
    assert found.reasons[0].text == (
        "json: the waiver by Ann Lee expired on 2026-06-30. Renew it or remove it."
    )


# The release, and the verdict as a file


def test_a_release_is_as_good_as_the_worse_of_its_two_artifacts() -> None:
    merged, quantized = verdict(), verdict(artifact="quantized")
    both = combine(merged, quantized)
    assert both.outcome == "promote"
    assert "for the merged and the quantized weights" in both.sentence
    assert set(both.candidate_digests) == {"merged", "quantized"}
    poor = verdict(evaluation("quantized", {**GOOD, "json": 0.8}), artifact="quantized")
    assert combine(merged, poor).outcome == "reject"
    assert combine(merged, poor).reasons[0].artifact == "quantized"


def test_verdicts_by_two_policies_are_not_a_release() -> None:
    other = verdict(artifact="quantized", policy=policy_with("json", margin=0.04))
    found = combine(verdict(), other)
    assert found.outcome == "cannot judge"
    assert "judged by different policies" in found.reasons[0].text


def test_two_verdicts_on_the_merged_weights_are_not_a_release() -> None:
    found = combine(verdict(), verdict())
    assert found.outcome == "cannot judge"
    assert "one verdict on the merged and one on the quantized" in found.reasons[0].text


def test_a_verdict_survives_json_and_back() -> None:
    found = combine(
        verdict(evaluation("merged", {**GOOD, "json": 0.38}), policy=waived()),
        verdict(artifact="quantized", policy=waived()),
    )
    assert Verdict.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_a_verdict_that_cannot_be_judged_is_valid_json_too() -> None:
    found = verdict(swap={"merged": scored(nan)})
    assert Verdict.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


@pytest.mark.parametrize(
    ("key", "value"),
    [("outcome", "promote"), ("outcome", "fine"), ("reasons", []), ("schema", 3), ("rows", [{}])],
)
def test_a_verdict_that_was_altered_is_refused(key: str, value: Any) -> None:
    stored = verdict(evaluation("merged", {**GOOD, "json": 0.38})).to_json()
    with pytest.raises(CorruptArtifactError, match="judge again"):
        Verdict.from_json({**stored, key: value})


def test_a_waiver_that_was_written_into_a_stored_verdict_is_refused() -> None:
    stored = verdict(evaluation("merged", {**GOOD, "json": 0.38})).to_json()
    stored["reasons"][0]["waiver"] = "waived by nobody"
    with pytest.raises(CorruptArtifactError, match="do not agree"):
        Verdict.from_json({**stored, "outcome": "promote"})


def test_a_row_that_no_reason_agrees_with_is_refused() -> None:
    stored = verdict(evaluation("merged", {**GOOD, "json": 0.38})).to_json()
    stored["rows"][0]["outcome"] = "promote"
    with pytest.raises(CorruptArtifactError, match="no reason agrees with the row of json"):
        Verdict.from_json(stored)


SINCE_2 = ("notes", "improvements", "inputs")
ROWS_SINCE_2 = ("rule", "slice", "cluster", "clusters", "low", "high", "direction")


def test_a_verdict_of_schema_1_still_reads() -> None:
    """As releases of before hold it: without notes, improvements, inputs, slices and clusters."""
    new = combine(verdict(), verdict(artifact="quantized")).to_json()
    old = {key: value for key, value in new.items() if key not in SINCE_2} | {"schema": 1}
    old["rows"] = [{k: v for k, v in row.items() if k not in ROWS_SINCE_2} for row in new["rows"]]
    read = Verdict.from_json(old)
    assert (read.outcome, read.sentence) == ("promote", new["sentence"])
    assert (read.notes, read.improvements, read.inputs) == ((), (), {})
    assert Verdict.from_json(read.to_json()) == read


@pytest.mark.parametrize("key", SINCE_2)
def test_a_verdict_of_schema_2_without_one_of_its_parts_is_refused(key: str) -> None:
    stored = verdict().to_json()
    del stored[key]
    with pytest.raises(CorruptArtifactError, match=f"does not read as one .*{key}"):
        Verdict.from_json(stored)


def test_the_verdict_names_what_it_was_computed_from() -> None:
    found = verdict().inputs["merged"]
    assert set(found["evaluations"]) == {"merged", *references()}
    assert len({*found["evaluations"].values()}) == 6
    assert all(len(digest) == 64 for digest in found["evaluations"].values())
    assert verdict(artifact="quantized").inputs["quantized"]["latency"] == ""


def test_a_row_holds_what_is_needed_to_compute_it_again() -> None:
    (row, *_) = verdict().rows
    assert (row.rule, row.low, row.high, row.direction) == ("json", 0.0, 1.0, "higher")
    assert (row.reference, row.margin, row.alpha, row.n) == ("json", 0.05, 0.05, N)


def test_the_same_evidence_gives_the_same_bytes() -> None:
    first, second = (json.dumps(verdict().to_json()) for _ in range(2))
    assert first == second


def test_the_day_matters_to_waivers_only() -> None:
    assert verdict(today=date(2031, 1, 1)).to_json() == verdict(today=TODAY).to_json()


def test_a_hundred_thousand_samples_are_judged_in_under_a_second() -> None:
    others, candidate = references(25_000), evaluation("merged", GOOD, 25_000)
    assert len(candidate.scores) == 100_000
    policy = Policy.parse(POLICY)
    start = time.process_time()  # not wall time: other tests may run beside this one
    found = judge_release(
        policy, candidate, others, EXPERTS, latency=LATENCY, today=TODAY, artifact="merged"
    )
    assert time.process_time() - start < 1
    assert found.outcome == "promote"
