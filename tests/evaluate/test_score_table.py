"""The table has a row per variant and says where a score is missing."""

from __future__ import annotations

from pipeline.evaluate.table import comparison
from pipeline.facts import Evaluation, Score


def evaluation(variant: str, *scores: tuple[str, str, float]) -> Evaluation:
    rows = tuple(Score(s, m, str(i), "d", v) for i, (s, m, v) in enumerate(scores))
    return Evaluation(variant, variant, "d", "h", {}, {}, rows)


TABLE = comparison(
    [
        evaluation("base", ("json", "exact", 0.0), ("json", "exact", 1.0), ("tone", "rubric", 4.0)),
        evaluation("tuned", ("json", "exact", 1.0), ("general", "exact", 1 / 3)),
    ]
)


def test_means_stand_by_variant_and_skill_in_the_order_given() -> None:
    assert TABLE.to_dict() == {
        "base": {"json/exact": 0.5, "tone/rubric": 4.0, "general/exact": None},
        "tuned": {"json/exact": 1.0, "tone/rubric": None, "general/exact": 1 / 3},
    }


def test_markdown_shows_a_missing_score_as_a_dash() -> None:
    assert TABLE.to_markdown().splitlines() == [
        "| variant | json/exact | tone/rubric | general/exact |",
        "| --- | ---: | ---: | ---: |",
        "| base | 0.500 | 4.000 | – |",
        "| tuned | 1.000 | – | 0.333 |",
    ]


def test_csv_keeps_full_precision_and_leaves_missing_scores_empty() -> None:
    assert TABLE.to_csv().splitlines()[1:] == ["base,0.5,4.0,", "tuned,1.0,,0.3333333333333333"]


def test_no_evaluations_make_an_empty_table() -> None:
    assert comparison([]).to_csv() == "variant\n"
