"""Slices are judged each by itself, and dependent samples are not counted as independent ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gate_cases import (
    GOOD,
    POLICY,
    N,
    attributed,
    evaluation,
    everywhere,
    policy_with,
    reason,
    references,
    rescored,
    verdict,
)

from gates import Policy, Row, Verdict
from pipeline.errors import InputError
from pipeline.facts import Evaluation, Score

LANGUAGES = ("de", "en", "fr", "it")
WIDE = {"language": {"margin": 0.1}}


def fields(i: int) -> dict[str, str]:
    """Four languages in turn; five questions on each document."""
    return {"language": LANGUAGES[i % 4], "document": f"d{i // 5}"}


MARKED = attributed("json", fields)


def sliced(
    slices: dict[str, Any],
    candidate: Callable[[Evaluation], Evaluation] = lambda e: e,
    **figures: Any,
) -> Verdict:
    """The verdict where json's rows have fields and its rule these slices; `candidate` changes it."""
    swap = everywhere(MARKED) | {"merged": lambda e: candidate(MARKED(e))}
    return verdict(swap=swap, policy=policy_with("json", slices=slices, **figures))


def failing(language: str, every: int) -> Callable[[Evaluation], Evaluation]:
    """Every `every`th answer in one language becomes wrong."""

    def change(i: int, score: Score) -> Score:
        hit = fields(i)["language"] == language and i // 4 % every == 0
        return replace(score, score=0.0) if hit else score

    return rescored("json", change)


def rows(found: Verdict) -> dict[str, Row]:
    return {row.check: row for row in found.rows}


def test_every_value_of_the_field_is_a_check_of_its_own() -> None:
    found = sliced(WIDE)
    assert found.outcome == "promote"
    names = [f"json[language={value}]" for value in LANGUAGES]
    assert [row.check for row in found.rows[:5]] == ["json", *names]
    assert {rows(found)[name].n for name in names} == {N // 4}
    assert found.sentence == (
        "Promote: 3 skills, 4 slices and 1 safety suite show, for the merged weights, what the "
        "policy asks."
    )


def test_an_average_cannot_hide_a_regression_of_one_slice() -> None:
    found = sliced(WIDE, failing("de", 2), margin=0.2, floor=0.8)
    assert rows(found)["json"].outcome == "promote"
    assert found.outcome == "reject"
    assert found.sentence == "Reject: json[language=de] fell short of what the policy asks."
    assert reason(found, "json[language=de]").text == (
        "json[language=de]: 48 % against 97 % of json-lora, 49 points worse, at most 10 allowed"
    )
    assert rows(found)["json[language=en]"].outcome == "promote"


def test_a_slice_is_judged_on_its_own_samples_as_if_they_were_all() -> None:
    alone = verdict(
        evaluation("merged", {**GOOD, "json": 0.9}, 100),
        policy=policy_with("json", margin=0.1),
        swap={name: lambda e: evaluation(e.variant, _means(e), 100) for name in references()},
    )
    found = sliced(WIDE, rescored("json", lambda i, s: replace(s, score=float(i // 4 < 90))))
    whole, part = rows(alone)["json"], rows(found)["json[language=de]"]
    assert (part.n, part.difference, part.lower) == (whole.n, whole.difference, whole.lower)


def _means(e: Evaluation) -> dict[str, float]:
    totals: dict[str, list[float]] = {}
    for score in e.scores:
        totals.setdefault(score.skill, []).append(score.score)
    return {skill: sum(values) / len(values) for skill, values in totals.items()}


def test_a_slice_that_too_few_samples_decide_keeps_the_release_from_promotion() -> None:
    assert sliced({"language": {}}).outcome == "promote"  # no sample differs
    found = sliced({"language": {"margin": 0.02}})
    assert rows(found)["json"].outcome == "promote"
    assert rows(found)["json[language=de]"].outcome == "inconclusive"
    assert found.outcome == "inconclusive"


def test_a_slice_has_the_figures_of_its_rule_unless_it_names_its_own() -> None:
    (rule, *_) = Policy.parse(
        policy_with("json", slices={"a": {}, "b": {"margin": 0.2, "floor": 0.5, "min": 30}})
    ).rules
    a, b = rule.slices
    assert (a.margin, a.floor, a.least, a.only) == (rule.margin, rule.floor, 1, ())
    assert (b.margin, b.floor, b.least) == (0.2, 0.5, 30)


def test_only_the_values_that_the_policy_names_are_judged() -> None:
    found = sliced(
        {"language": {"margin": 0.1, "only": ["fr", "de"]}}, failing("it", 1), margin=0.5
    )
    checks = [row.check for row in found.rows if row.slice]
    assert checks == ["json[language=fr]", "json[language=de]"]


def test_a_value_that_yaml_reads_as_a_number_names_the_same_slice() -> None:
    marked = attributed("json", lambda i: {"turns": str(i % 2)})
    policy = policy_with("json", slices={"turns": {"margin": 0.1, "only": [0, 1]}})
    found = verdict(swap=everywhere(marked), policy=policy)
    assert [row.check for row in found.rows if row.slice] == ["json[turns=0]", "json[turns=1]"]


UNJUDGED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no sample has the field": (
        {"product": {}},
        "json[product]",
        "product is not recorded for 400 samples, the first of them json-0000; it has document, "
        "language",
    ),
    "a value that it names matches no row": (
        {"language": {"only": ["de", "nl"]}},
        "json[language]",
        "no sample has language=nl, which it names; the field has de, en, fr, it",
    ),
    "there are too few samples": (
        {"language": {"margin": 0.1, "min": 101}},
        "json[language=de]",
        "it has 100 samples, and the policy asks for 101",
    ),
}


@pytest.mark.parametrize("case", UNJUDGED)
def test_slices_cannot_be_judged_when(case: str) -> None:
    slices, check, words = UNJUDGED[case]
    found = sliced(slices)
    assert found.outcome == "cannot judge"
    assert words in reason(found, check).text
    assert rows(found)[check].outcome == "cannot judge"


def test_a_field_with_too_many_values_is_no_grouping() -> None:
    marked = attributed("json", lambda i: {"row": f"r{i}"})
    found = verdict(swap=everywhere(marked), policy=policy_with("json", slices={"row": {}}))
    assert "row has 400 values, and 100 is the most" in reason(found, "json[row]").text
    assert found.outcome == "cannot judge"


def test_a_sample_without_the_field_is_not_left_out_in_silence() -> None:
    marked = attributed("json", lambda i: {} if i == 7 else fields(i))
    found = verdict(swap=everywhere(marked), policy=policy_with("json", slices=WIDE))
    assert found.outcome == "cannot judge"
    assert "language is not recorded for sample json-0007" in reason(found, "json[language]").text


def test_a_reference_that_misses_the_floor_in_a_slice_proves_nothing_there() -> None:
    broken = failing("de", 2)
    swap = everywhere(MARKED) | {name: lambda e: broken(MARKED(e)) for name in ("merged", "json")}
    found = verdict(swap=swap, policy=policy_with("json", slices=WIDE, floor=0.8))
    assert found.outcome == "cannot judge"
    assert (
        "its reference json-lora itself scores 48 %, under the floor of 80 %"
        in reason(found, "json[language=de]").text
    )


def test_variants_whose_samples_have_other_fields_cannot_be_compared() -> None:
    other = attributed("json", lambda i: {**fields(i), "language": "de"} if i == 1 else fields(i))
    found = verdict(
        swap=everywhere(MARKED) | {"json": other}, policy=policy_with("json", slices=WIDE)
    )
    assert found.outcome == "cannot judge"
    assert (
        "the candidate and json-lora have different attributes for sample json-0001"
        in reason(found, "json").text
    )


@pytest.mark.parametrize(
    "pairs", [(("language", 3),), (("language", ""),), (("a", "b"), ("a", "c")), (("a", ["b"]),)]
)
def test_attributes_that_are_no_texts_cannot_be_judged(pairs: Any) -> None:
    broken = rescored("json", lambda i, s: replace(s, attributes=pairs) if i == 7 else s)
    found = verdict(swap={"merged": broken})
    assert found.outcome == "cannot judge"
    assert "one text for each field, for sample json-0007" in reason(found, "json").text


def test_where_the_skill_cannot_be_judged_a_waiver_of_it_does_not_pass_its_slices() -> None:
    waiver = {"check": "json", "name": "Ann Lee", "reason": "x", "expires": "2026-06-30"}
    policy = policy_with("json", slices=WIDE, also={"plain": {"margin": 0.05}})
    policy["waivers"] = [waiver]
    nan = rescored("json", lambda i, s: replace(s, score=float("nan")) if i == 7 else s)
    found = verdict(swap=everywhere(MARKED) | {"merged": nan}, policy=policy)
    assert found.outcome == "cannot judge"
    blocking = {r.check for r in found.reasons if r.outcome == "cannot judge" and not r.waiver}
    assert blocking == {"json", "json[language]", "json[vs plain]"}


def test_a_slice_can_be_waived_by_its_name_and_a_slice_of_a_veto_cannot() -> None:
    policy = policy_with("json", slices=WIDE, margin=0.2, floor=0.8)
    waiver = {"name": "Ann Lee", "reason": "x", "expires": "2026-06-30"}
    policy["waivers"] = [{**waiver, "check": "json[language=de]"}]
    swap = everywhere(MARKED) | {"merged": lambda e: failing("de", 2)(MARKED(e))}
    found = verdict(swap=swap, policy=policy)
    assert found.outcome == "promote"
    assert [w.check for w in found.waivers] == ["json[language=de]"]
    policy["waivers"] = [{**waiver, "check": "refusal[category=fraud]"}]
    with pytest.raises(InputError, match="a veto cannot be waived"):
        Policy.parse(policy)


def test_slices_of_a_metric_where_lower_is_better_take_their_floor_as_a_ceiling() -> None:
    policy = policy_with("json", direction="lower", floor=0.1, margin=0.3, slices={"language": {}})
    low = rescored("json", lambda i, s: replace(s, score=float(i < 12)))
    swap = everywhere(lambda e: low(MARKED(e)))
    bad = rescored("json", lambda i, s: replace(s, score=float(i % 4 == 0 and i < 100)))
    found = verdict(swap=swap | {"merged": lambda e: bad(MARKED(e))}, policy=policy)
    assert rows(found)["json[language=de]"].outcome == "reject"
    assert "25 % is over the ceiling of 10 %" in reason(found, "json[language=de]").text
    assert rows(found)["json[language=en]"].outcome == "promote"


# Clusters


def test_questions_on_one_document_count_as_dependent() -> None:
    """All five questions on every eighth document are lost: the error is that of 80 documents."""
    lost = rescored("json", lambda i, s: replace(s, score=0.0) if i // 5 % 40 == 0 else s)
    swap = everywhere(MARKED) | {"merged": lambda e: lost(MARKED(e))}
    by_sample = verdict(swap=swap, policy=policy_with("json", margin=0.06))
    by_document = verdict(swap=swap, policy=policy_with("json", margin=0.06, cluster="document"))
    free, tied = rows(by_sample)["json"], rows(by_document)["json"]
    assert free.difference == tied.difference
    assert (free.clusters, tied.clusters, tied.cluster) == (None, 80, "document")
    assert tied.lower is not None
    assert free.lower is not None
    assert tied.lower < free.lower
    assert (free.outcome, tied.outcome) == ("promote", "inconclusive")
    assert "400 samples with 80 values of document are too few" in reason(by_document, "json").text


def test_a_floor_is_missed_beyond_chance_only_by_the_clustered_error() -> None:
    """8 of 80 documents lost whole: 90 % by 400 samples is surely under 93 %, by 80 it is not."""
    marked = attributed("json", lambda i: {"document": f"d{i // 5}"})
    low = rescored("json", lambda i, s: replace(s, score=float(i >= 40)))
    high = rescored("json", lambda i, s: replace(s, score=float(i >= 20)))
    swap = everywhere(lambda e: high(marked(e))) | {"merged": lambda e: low(marked(e))}
    figures = {"margin": 0.3, "floor": 0.93}
    free = verdict(swap=swap, policy=policy_with("json", **figures))
    tied = verdict(swap=swap, policy=policy_with("json", **figures, cluster="document"))
    assert rows(free)["json"].outcome == "reject"
    assert rows(tied)["json"].outcome == "inconclusive"


def test_clusters_hold_within_slices_too() -> None:
    policy = policy_with(
        "json", slices={"language": {"margin": 0.2}}, cluster="document", margin=0.1
    )
    marked = attributed(
        "json", lambda i: {"document": f"d{i // 5}", "language": "de" if i < 200 else "en"}
    )
    found = verdict(swap=everywhere(marked), policy=policy)
    assert {row.clusters for row in found.rows if row.check.startswith("json")} == {80, 40}


CLUSTERS_UNJUDGED = {
    "no sample has the field": ("documents", fields, "documents is not recorded for 400 samples"),
    "a sample lacks the field": (
        "document",
        lambda i: {} if i == 7 else fields(i),
        "document is not recorded for sample json-0007",
    ),
    "all samples are one cluster": (
        "document",
        lambda i: {"document": "d0"},
        "all samples have one document, which tells nothing of others",
    ),
}


@pytest.mark.parametrize("case", CLUSTERS_UNJUDGED)
def test_clusters_cannot_be_judged_when(case: str) -> None:
    field, marks, words = CLUSTERS_UNJUDGED[case]
    found = verdict(
        swap=everywhere(attributed("json", marks)), policy=policy_with("json", cluster=field)
    )
    assert found.outcome == "cannot judge"
    assert words in reason(found, "json").text


def test_a_slice_of_one_cluster_cannot_be_judged() -> None:
    marked = attributed("json", lambda i: {"document": f"d{i // 5}", "kind": "a" if i < 5 else "b"})
    policy = policy_with("json", cluster="document", slices={"kind": {"margin": 0.2}})
    found = verdict(swap=everywhere(marked), policy=policy)
    assert found.outcome == "cannot judge"
    assert "all its samples have one document" in reason(found, "json[kind=a]").text
    assert rows(found)["json[kind=b]"].outcome == "promote"


def test_a_verdict_with_slices_and_clusters_survives_json_and_back() -> None:
    found = sliced(WIDE, cluster="document", margin=0.2)
    stored = found.to_json()
    assert stored["rows"][1]["slice"] == "language=de"
    assert Verdict.from_json(json.loads(json.dumps(stored, allow_nan=False))) == found


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("slices", {"language": {"margins": 1}}, "language.margins is not a key"),
        ("slices", {"language": {"min": 0}}, "language.min is 0; it must be a whole number"),
        ("slices", {"language": {"margin": 1.5}}, "language.margin is 1.5; it must be a number"),
        ("slices", {"language": {"only": []}}, "language.only is []; it must be a list of values"),
        ("slices", {"language": {"only": ["de", "de"]}}, "each once"),
        ("slices", {"language": {"only": [None]}}, "language.only is [None]"),
        ("slices", {"a b": {}}, "slices names 'a b'; it must be the name of a field"),
        ("slices", {"language": None}, "slices.language is empty; it must be a mapping"),
        ("slices", {}, "slices is {}; it must be a mapping of fields"),
        ("cluster", "a=b", "cluster is 'a=b'; it must be the name of a field"),
        ("cluster", "", "cluster is ''; it must be the name of a field"),
    ],
)
def test_a_faulty_slice_is_refused_where_it_stands(key: str, value: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Policy.parse(policy_with("json", **{key: value}))
    assert words in str(caught.value)


def test_a_policy_without_slices_keeps_the_digest_that_it_always_had() -> None:
    plain = Policy.parse(POLICY)
    assert plain.digest == "c705365bf88450e6b070b7d69efe68a1f3a8501296f2fe5623f79583d96588a3"
    assert Policy.parse(policy_with("json", slices=WIDE)).digest != plain.digest
    assert Policy.parse(policy_with("json", cluster="document")).digest != plain.digest


def test_the_rule_names_the_fields_that_scores_must_carry() -> None:
    (rule, *_) = Policy.parse(policy_with("json", slices=WIDE, cluster="document")).rules
    assert rule.fields == ("document", "language")


def test_columns_that_are_turned_round_are_still_sliced_by_their_own_rows() -> None:
    def turned(e: Evaluation) -> Evaluation:
        return replace(MARKED(e), scores=MARKED(e).scores[::-1])

    straight = sliced(WIDE, failing("de", 2), margin=0.2, floor=0.8)
    swap = everywhere(turned) | {"merged": lambda e: failing("de", 2)(MARKED(e))}
    found = verdict(swap=swap, policy=policy_with("json", slices=WIDE, margin=0.2, floor=0.8))
    assert [(r.check, r.lower) for r in found.rows] == [(r.check, r.lower) for r in straight.rows]
