"""lm-eval's samples become scores only when all are there, once each, and finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from gates.rule import attribute_text
from pipeline.errors import InputError
from pipeline.evaluate.scores import skill_answers, skill_scores
from pipeline.evaluate.tasks import SkillTask
from pipeline.facts import Score, digest_of

ROWS = tuple({"id": f"j-{i}", "prompt": "p"} for i in range(3))
TASK = SkillTask("json", "harbor_json", "d", "g", ROWS, {"json": None})


def sample(row: Mapping[str, Any], value: Any, where: str = "none") -> dict[str, Any]:
    return {
        "doc": row,
        "doc_id": int(row["id"][-1]),
        "filter": where,
        "metrics": ["exact"],
        "exact": value,
        "resps": [["an answer"]],
    }


def samples(*values: Any) -> dict[str, list[dict[str, Any]]]:
    return {"json": [sample(row, value) for row, value in zip(ROWS, values, strict=False)]}


def test_a_score_carries_the_digest_of_its_golden_row() -> None:
    scores = skill_scores(TASK, ("exact",), samples(1, 0, True), None)
    assert scores[2] == Score("json", "exact", "j-2", digest_of(ROWS[2]), 1.0)
    assert [s.score for s in scores] == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "good", (0.5, 3)])
def test_a_score_that_is_not_one_finite_number_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"sample j-1: metric 'exact' is .*one finite number"):
        skill_scores(TASK, ("exact",), samples(1, value, 1), None)


def test_a_missing_metric_names_those_that_there_are() -> None:
    with pytest.raises(InputError, match=r"gives no metric 'schema'; it gives exact"):
        skill_scores(TASK, ("schema",), samples(1, 1, 1), None)


def test_a_missing_sample_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"on 2 samples; .* each of 3. Missing: j-2; doubled: none"
    ):
        skill_scores(TASK, ("exact",), samples(1, 1), None)


def test_a_doubled_sample_is_refused() -> None:
    found = samples(1, 1, 1)
    found["json"].append(sample(ROWS[0], 0))
    with pytest.raises(InputError, match=r"doubled: j-0"):
        skill_scores(TASK, ("exact",), found, None)


def test_a_sample_of_no_golden_row_is_refused() -> None:
    found = samples(1, 1, 1)
    found["json"].append(sample({"id": "x-9"}, 0))
    with pytest.raises(InputError, match=r"unexpected: x-9"):
        skill_scores(TASK, ("exact",), found, None)


def test_no_samples_are_refused() -> None:
    with pytest.raises(InputError, match=r"json"):
        skill_scores(TASK, ("exact",), {"json": []}, None)


def test_a_limit_expects_the_first_rows_only() -> None:
    assert len(skill_scores(TASK, ("exact",), samples(1, 1), 2)) == 2
    with pytest.raises(InputError, match=r"unexpected: j-2"):
        skill_scores(TASK, ("exact",), samples(1, 1, 1), 2)


def with_rows(*rows: dict[str, Any]) -> tuple[SkillTask, dict[str, list[dict[str, Any]]]]:
    """A task over these rows, and samples that score each of them 1."""
    task = SkillTask("json", "harbor_json", "d", "g", rows, {"json": None})
    return task, {"json": [sample(row, 1) for row in rows]}


def test_a_score_carries_the_named_fields_of_its_golden_row_in_order_of_their_names() -> None:
    task, found = with_rows(
        {"id": "j-0", "prompt": "p", "language": "de", "document": 7, "long": True, "share": 0.5}
    )
    (score,) = skill_scores(task, ("exact",), found, None, ("language", "document", "long"))
    assert score.attributes == (("document", "7"), ("language", "de"), ("long", "true"))
    (score,) = skill_scores(task, ("exact",), found, None)
    assert score.attributes == ()


def test_a_label_is_written_as_a_policy_reads_it() -> None:
    values = ["de", 7, True, 0.5]
    rows = [{"id": f"j-{i}", "field": value} for i, value in enumerate(values)]
    task, found = with_rows(*rows)
    labels = [
        dict(s.attributes)["field"] for s in skill_scores(task, ("exact",), found, None, ("field",))
    ]
    assert labels == [attribute_text(value) for value in values]


def test_a_field_that_a_row_lacks_is_refused_naming_the_row() -> None:
    task, found = with_rows({"id": "j-0", "language": "de"}, {"id": "j-1", "lang": "de"})
    with pytest.raises(
        InputError, match=r"names 'language', which row j-1 does not have; it has id, lang"
    ):
        skill_scores(task, ("exact",), found, None, ("language",))


@pytest.mark.parametrize("value", [None, "", "  ", ["de"], {"a": 1}, "two\nlines", "x" * 101])
def test_a_field_that_names_no_group_is_refused(value: Any) -> None:
    task, found = with_rows({"id": "j-0", "language": value})
    with pytest.raises(
        InputError, match=r"language of row j-0 is .* it must be a text on one line"
    ):
        skill_scores(task, ("exact",), found, None, ("language",))


def test_metric_code_that_changes_its_document_does_not_change_the_attributes() -> None:
    task, found = with_rows({"id": "j-0", "language": "de"})
    found["json"][0]["doc"] = {"id": "j-0", "language": "en"}
    (score,) = skill_scores(task, ("exact",), found, None, ("language",))
    assert score.attributes == (("language", "de"),)


def test_documents_of_lm_evals_own_have_attributes_too() -> None:
    part = type("Part", (), {"eval_docs": range(1)})()
    task = SkillTask("general", "arc", "d", "", (), {"general/arc": part})
    found = {"general/arc": [sample({"id": "0-0", "subject": "physics"}, 1)]}
    (score,) = skill_scores(task, ("exact",), found, None, ("subject",))
    assert score.attributes == (("subject", "physics"),)
    with pytest.raises(InputError, match=r"which row general/arc:000000 does not have"):
        skill_scores(task, ("exact",), found, None, ("topic",))


def test_a_metric_of_several_filters_must_name_one() -> None:
    found = {"json": [sample(r, v, f) for r in ROWS for f, v in (("strict", 0), ("loose", 1))]}
    assert sum(s.score for s in skill_scores(TASK, ("exact,loose",), found, None)) == 3
    for name in ("exact", "exact,none"):
        with pytest.raises(InputError, match=r"Valid: exact,loose, exact,strict"):
            skill_scores(TASK, (name,), found, None)
    assert len(skill_answers(TASK, found)) == 3


def test_a_task_of_lm_evals_own_is_identified_by_part_number_and_content() -> None:
    part = type("Part", (), {"eval_docs": range(2)})()
    task = SkillTask("general", "arc", "d", "", (), {"general/arc": part})
    hashes = {"doc_hash": "a", "target_hash": "b"}
    found = {
        "general/arc": [
            {**sample({"id": f"0-{i}"}, 1), **hashes, "resps": [[(-1.5, True)]]} for i in range(2)
        ]
    }
    first, second = skill_scores(task, ("exact",), found, None)
    assert (first.sample_id, second.sample_id) == ("general/arc:000000", "general/arc:000001")
    assert first.sample_digest == digest_of(["a", "b"])
    assert skill_answers(task, found)[0]["answer"] == "[[[-1.5,true]]]"
