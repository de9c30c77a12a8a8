"""Further references, the champion, plain arithmetic, and what is noted beside the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gate_cases import (
    EXPERTS,
    GOOD,
    POOR,
    evaluation,
    policy_with,
    reason,
    references,
    rescored,
    verdict,
)

from gates import Policy, Row, Verdict, combine
from pipeline.errors import InputError
from pipeline.facts import Evaluation

NONE_YET = {"champion": "nothing was released yet"}


def rows(found: Verdict) -> dict[str, Row]:
    return {row.check: row for row in found.rows}


def also(**margins: float) -> dict[str, Any]:
    """The policy whose json must not be beaten by these variants, by more than these margins."""
    return policy_with("json", also={name: {"margin": margin} for name, margin in margins.items()})


def champion(json: float = 0.97) -> dict[str, Evaluation]:
    return {"champion": evaluation("champion", {**GOOD, "json": json})}


# Further references


def test_a_further_reference_is_a_check_and_a_row_of_its_own() -> None:
    found = verdict(policy=also(plain=0.0, base=0.05), add=champion())
    assert found.outcome == "promote"
    row = rows(found)["json[vs plain]"]
    assert (row.reference, row.margin, row.rule) == ("plain", 0.0, "json")
    assert row.difference == pytest.approx(0.87)
    assert found.sentence.startswith("Promote: 3 skills and 1 safety suite show")


def test_a_candidate_that_the_champion_beats_by_more_than_allowed_is_rejected() -> None:
    policy = policy_with("json", margin=0.3, floor=0.5, also={"champion": {"margin": 0.02}})
    found = verdict(evaluation("merged", {**GOOD, "json": 0.8}), policy=policy, add=champion(0.96))
    assert rows(found)["json"].outcome == "promote"
    assert found.sentence == "Reject: json[vs champion] fell short of what the policy asks."
    assert reason(found, "json[vs champion]").text == (
        "json[vs champion]: 80 % against 96 % of champion, 16 points worse, at most 2 allowed"
    )


def test_a_margin_of_nothing_asks_that_the_candidate_be_shown_better() -> None:
    swap = {"plain": lambda e: evaluation("plain", GOOD)}
    found = verdict(policy=also(plain=0.0), swap=swap)
    assert found.outcome == "inconclusive"
    assert reason(found, "json[vs plain]").text == (
        "json[vs plain]: 97 % against 97 % of plain, no difference, no loss allowed; 400 samples "
        "are too few to tell: allowing for chance, it may be 0.7 points worse; as measured it lies "
        "on the limit, which no number of samples decides"
    )
    worse = {"plain": lambda e: evaluation("plain", {**GOOD, "json": 1.0})}
    text = reason(verdict(policy=also(plain=0.0), swap=worse), "json[vs plain]").text
    assert text.startswith(
        "json[vs plain]: 97 % against 100 % of plain, 3 points worse, none allowed"
    )


def test_a_further_reference_need_not_reach_the_floor() -> None:
    """The base scores nothing at json; that makes it no reference to be near, but one to beat."""
    found = verdict(policy=also(base=0.0))
    assert rows(found)["json[vs base]"].outcome == "promote"


def test_a_further_reference_that_was_not_evaluated_cannot_be_judged() -> None:
    found = verdict(policy=also(champion=0.05))
    assert found.outcome == "cannot judge"
    assert "champion, which it must be compared with, was not evaluated" in (
        reason(found, "json[vs champion]").text
    )


def test_a_broken_further_reference_cannot_be_judged() -> None:
    broken = rescored("json", lambda i, s: replace(s, score=float("nan")) if i == 7 else s)
    found = verdict(policy=also(plain=0.05), swap={"plain": broken})
    assert found.outcome == "cannot judge"
    assert reason(found, "json[vs plain]").outcome == "cannot judge"


def test_the_candidate_is_no_further_reference_of_itself() -> None:
    found = verdict(policy=also(merged=0.05))
    assert "its reference is the candidate itself" in reason(found, "json[vs merged]").text


def test_where_lower_is_better_the_champion_beats_by_being_lower() -> None:
    policy = policy_with(
        "json", direction="lower", margin=0.3, floor=0.5, also={"champion": {"margin": 0.05}}
    )
    low = {
        name: rescored("json", lambda i, s: replace(s, score=float(i < 20)))
        for name in references()
    }
    found = verdict(
        evaluation("merged", {**GOOD, "json": 0.25}), policy=policy, swap=low, add=champion(0.05)
    )
    assert rows(found)["json"].outcome == "promote"
    assert rows(found)["json[vs champion]"].outcome == "reject"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"plain": {}}, "also.plain.margin is missing"),
        ({"plain": {"margin": 0.1, "floor": 0.2}}, "also.plain.floor is not a key"),
        ({"best-expert": {"margin": 0.1}}, "is the reference of the rule already"),
        ({"unmerged": {"margin": 0.1}}, "is the reference of the rule already"),
        ({}, "also is {}; it must be a mapping of variants to a margin each"),
        ({"plain": 0.1}, "also.plain is a float; it must be a mapping"),
    ],
)
def test_a_faulty_further_reference_is_refused_where_it_stands(value: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Policy.parse(policy_with("json", also=value))
    assert words in str(caught.value)


# The champion


def test_that_there_is_no_champion_yet_must_be_stated_and_is_told() -> None:
    found = verdict(policy=also(champion=0.05), absent=NONE_YET)
    assert found.outcome == "promote"
    told = reason(found, "json[vs champion]")
    assert told.outcome == "promote"
    assert told.text == (
        "json[vs champion]: passed over, since there is no champion yet (nothing was released yet)"
    )
    assert "json[vs champion]" not in rows(found)
    assert found.inputs["merged"]["absent"] == NONE_YET


def test_a_rule_whose_only_reference_is_a_champion_that_is_not_there_cannot_be_judged() -> None:
    found = verdict(policy=policy_with("json", reference="champion"), absent=NONE_YET)
    assert found.outcome == "cannot judge"
    assert "there is no champion to compare with (nothing was released yet)" in (
        reason(found, "json").text
    )


def test_a_rule_may_compare_with_the_champion_alone() -> None:
    found = verdict(policy=policy_with("json", reference="champion"), add=champion())
    assert rows(found)["json"].reference == "champion"
    assert found.outcome == "promote"


def test_no_variant_but_the_champion_may_be_stated_to_be_absent() -> None:
    found = verdict(drop="plain", absent={"plain": "too dear"})
    assert found.outcome == "cannot judge"
    texts = " ".join(r.text for r in found.reasons)
    assert "plain cannot be compared, because it was not evaluated" in texts
    assert "it is said to be absent, and only the champion may be" in texts


def test_a_champion_that_is_stated_to_be_absent_and_was_evaluated_is_a_contradiction() -> None:
    found = verdict(policy=also(champion=0.05), absent=NONE_YET, add=champion())
    assert found.outcome == "cannot judge"
    assert any("said to be absent, and was evaluated" in r.text for r in found.reasons)


@pytest.mark.parametrize("name", ["champion", "plain"])
def test_a_candidate_that_is_the_champion_or_plain_arithmetic_itself_passes_it_over(
    name: str,
) -> None:
    same = {name: replace(evaluation(name, GOOD), model_digest="sha256-of-merged")}
    found = verdict(policy=also(**{name: 0.05}), add=same)
    assert found.outcome == "promote"
    assert reason(found, f"json[vs {name}]").text == (
        f"json[vs {name}]: passed over, since the candidate and {name} are one model"
    )


def test_a_candidate_that_is_the_base_itself_is_a_mistake_in_the_evidence() -> None:
    same = {"base": lambda e: replace(e, model_digest="sha256-of-merged")}
    found = verdict(policy=also(base=0.05), swap=same)
    assert found.outcome == "cannot judge"
    assert "base is the same model as the candidate" in reason(found, "json[vs base]").text


# Multi-adapter serving


def test_the_unmerged_set_answers_each_skill_with_its_best_expert() -> None:
    unmerged = verdict(policy=policy_with("json", reference="unmerged"))
    best = verdict(policy=policy_with("json", reference="best-expert"))
    assert rows(unmerged)["json"] == rows(best)["json"]
    found = verdict(policy=policy_with("general", also={"unmerged": {"margin": 0.05}}))
    row = rows(found)["general[vs unmerged]"]
    assert (row.reference, row.reference_mean) == ("tone", 0.96)


@pytest.mark.parametrize("name", ["best-expert", "unmerged"])
def test_no_variant_may_be_called_by_a_word_of_the_policy(name: str) -> None:
    found = verdict(add={name: evaluation(name, GOOD)})
    assert found.outcome == "cannot judge"
    assert "it is a word of the policy for the best expert" in found.reasons[0].text


# Notes


def plain_as(**means: float) -> dict[str, Any]:
    return {"plain": lambda e: evaluation("plain", {**GOOD, **means})}


def test_a_merge_that_loses_to_plain_arithmetic_at_every_skill_is_told_so() -> None:
    found = verdict(swap=plain_as(json=1.0, tone=4.9, general=0.965))
    assert found.outcome == "promote"
    assert found.notes == (
        "Plain task arithmetic scores better than the merged weights at every skill (json 100 % "
        "against 97 %, tone 4.9 against 4.8, general 96.5 % against 96 %), by more than chance "
        "explains for json and tone. It needs no tuning; consider it as the candidate.",
    )


def test_a_loss_to_plain_arithmetic_that_chance_explains_is_told_as_that() -> None:
    found = verdict(swap=plain_as(json=0.9725, tone=4.8025, general=0.9625))
    assert len(found.notes) == 1
    assert "though chance may explain all of it" in found.notes[0]


@pytest.mark.parametrize("skill", ["json", "tone", "general"])
def test_a_merge_that_does_as_well_as_plain_arithmetic_at_one_skill_gets_no_such_note(
    skill: str,
) -> None:
    better = {"json": 1.0, "tone": 4.9, "general": 0.99}
    del better[skill]
    assert verdict(swap=plain_as(**better)).notes == ()


def test_plain_arithmetic_itself_does_not_lose_to_itself() -> None:
    better = evaluation("plain", {**GOOD, "json": 1.0, "tone": 4.9, "general": 0.99})
    found = verdict(swap={"plain": lambda e: replace(better, model_digest="sha256-of-merged")})
    assert found.notes == ()


def test_a_reference_that_is_weaker_than_the_base_is_told() -> None:
    policy = policy_with("general", reference="policy", floor=0.5)
    found = verdict(policy=policy)
    assert found.notes == (
        "general: its reference policy-lora scores 60 %, and the base 96 %; to be as good as "
        "policy-lora shows little.",
    )


# Improvements


def test_a_skill_that_is_shown_to_be_better_is_named() -> None:
    found = verdict(
        evaluation("merged", {**GOOD, "json": 1.0, "general": 0.9625}), policy=also(plain=0.05)
    )
    (gain,) = found.improvements
    assert (gain.check, gain.reference) == ("json", "json")
    assert gain.difference == pytest.approx(0.03)
    assert gain.p == pytest.approx(2**-12, rel=1e-3)  # twelve pairs differ, all of them gains
    assert gain.text == (
        "json: 100 % against 97 % of json-lora, 3 points better, more than chance explains"
    )


def test_improvements_are_corrected_for_the_number_of_skills() -> None:
    """Five gains and no loss: p is 1/32, below 0.05 alone and above 0.05/3 among three skills."""
    candidate = evaluation("merged", {**GOOD, "json": 0.97 + 5 / 400})
    assert verdict(candidate).improvements == ()
    alone = {"alpha": 0.05, "skills": policy_with("json")["skills"], "safety": {}}
    alone["skills"] = {"json": alone["skills"]["json"]}

    def only_json(e: Evaluation) -> Evaluation:
        return replace(
            e,
            tasks={"json": e.tasks["json"]},
            scores=tuple(s for s in e.scores if s.skill == "json"),
        )

    swap = dict.fromkeys(("merged", *references()), only_json)
    (gain,) = verdict(candidate, policy=alone, swap=swap).improvements
    assert gain.p == pytest.approx(1 / 32, rel=2e-3)


def test_a_safety_suite_is_no_improvement() -> None:
    weaker = {"base": lambda e: evaluation("base", {**POOR, "refusal": 0.92})}
    assert verdict(evaluation("merged", {**GOOD, "refusal": 1.0}), swap=weaker).improvements == ()


def test_notes_and_improvements_of_both_artifacts_stand_in_the_release() -> None:
    means = {**GOOD, "json": 1.0}
    swap = plain_as(json=1.0, tone=4.9, general=0.99)
    merged = verdict(evaluation("merged", means), swap=swap)
    quantized = verdict(evaluation("quantized", GOOD), swap=swap, artifact="quantized")
    both = combine(merged, quantized)
    assert [gain.artifact for gain in both.improvements] == ["merged"]
    assert [("quantized weights" in note) for note in both.notes] == [True]
    assert set(both.inputs) == {"merged", "quantized"}
    assert Verdict.from_json(both.to_json()) == both


def test_the_table_shows_every_variant_whatever_the_policy_names() -> None:
    """A champion that no rule names must be whole too, since it stands in the table."""
    broken = rescored("json", lambda i, s: replace(s, score=float("nan")) if i == 7 else s)
    found = verdict(add={"champion": broken(champion()["champion"])})
    assert found.outcome == "cannot judge"
    assert "champion has no finite number" in reason(found, "json").text
    assert set(found.inputs["merged"]["evaluations"]) == {"merged", *references()}.union(
        {"champion"}
    )
    assert tuple(found.inputs["merged"]["experts"]) == EXPERTS
