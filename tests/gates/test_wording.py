"""Figures in reasons are short, in the metric's units, and never rounded across a limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gate_cases import POLICY

from gates import Policy, wording
from gates.statistics import Comparison

JSON, TONE, *_ = Policy.parse(POLICY).rules


def comparison(
    candidate: float, reference: float, lower: float = -0.04, n: int = 400
) -> Comparison:
    return Comparison(
        n, candidate, reference, candidate - reference, lower, 0.0, "", 0, needed_n=1234
    )


@pytest.mark.parametrize(
    ("candidate", "reference", "words"),
    [
        (0.38, 0.97, "38 % against 97 % of X, 59 points worse, at most 5 allowed"),
        (0.96, 0.97, "96 % against 97 % of X, 1 point worse, at most 5 allowed"),
        (0.9475, 0.97, "94.8 % against 97 % of X, 2.2 points worse, at most 5 allowed"),
        (0.97, 0.97, "97 % against 97 % of X, no difference, at most 5 points worse allowed"),
        (1.0, 0.0, "100 % against 0 % of X, 100 points better, at most 5 points worse allowed"),
    ],
)
def test_shares_are_told_in_percent_and_points(
    candidate: float, reference: float, words: str
) -> None:
    assert wording.measured(JSON, "X", comparison(candidate, reference)) == f"json: {words}"


def test_a_rubric_is_told_in_its_own_units_with_its_top() -> None:
    words = "tone: 4.65 of 5 against 4.9 of X, 0.25 worse, at most 0.25 allowed"
    assert wording.measured(TONE, "X", comparison(4.65, 4.9)) == words


@pytest.mark.parametrize(
    ("difference", "shown"),
    [(0.0504, "5.04"), (0.05001, "5.001"), (0.06, "6"), (0.0499, "4.99")],
)
def test_a_difference_beside_the_margin_never_reads_as_equal_to_it(
    difference: float, shown: str
) -> None:
    text = wording.measured(JSON, "X", comparison(0.9 - difference, 0.9))
    assert f", {shown} points worse, at most 5 allowed" in text


def test_a_tiny_gain_does_not_read_as_none() -> None:
    assert "0.01 points better" in wording.measured(JSON, "X", comparison(0.9001, 0.9))


def test_a_mean_beside_the_floor_never_reads_as_equal_to_it() -> None:
    text = wording.under_floor(JSON, "X", comparison(0.8499, 0.86), 70_000, shown=False)
    assert "84.99 % is under the floor of 85 %" in text


def test_a_bound_beside_the_margin_never_reads_as_beyond_it() -> None:
    text = wording.promoted(JSON, "X", comparison(0.95, 0.97, lower=-0.04996))
    assert text.endswith("allowing for chance, 4.996 points worse at most")


@pytest.mark.parametrize(
    ("needed", "shown"), [(7, "7"), (88, "88"), (1234, "1,300"), (99_999, "100,000")]
)
def test_the_samples_needed_are_told_as_the_estimate_they_are(needed: int, shown: str) -> None:
    c = comparison(0.94, 0.97, lower=-0.06)
    text = wording.too_few(JSON, "X", Comparison(**{**vars(c), "needed_n": needed}))
    assert text.endswith(f"about {shown} in all would decide it")


def test_one_sample_is_told_in_the_singular() -> None:
    assert "; 1 sample is too few to tell" in wording.too_few(JSON, "X", comparison(1, 1, n=1))


def test_where_no_number_of_samples_decides_the_reason_says_so() -> None:
    c = Comparison(**{**vars(comparison(0.9, 0.95)), "needed_n": None})
    assert wording.too_few(JSON, "X", c).endswith(
        "as measured it lies on the limit, which no number of samples decides"
    )


def test_a_margin_of_nothing_is_told_in_words() -> None:
    rule = replace(JSON, margin=0.0)
    assert wording.measured(rule, "X", comparison(0.9, 0.95)).endswith(
        "5 points worse, none allowed"
    )
    assert wording.measured(rule, "X", comparison(0.95, 0.9)).endswith(
        "5 points better, no loss allowed"
    )


def test_samples_that_depend_on_each_other_are_counted_by_their_groups() -> None:
    rule = replace(JSON, cluster="document")
    c = Comparison(**{**vars(comparison(0.94, 0.97, lower=-0.06)), "clusters": 1080})
    assert "; 400 samples with 1,080 values of document are too few" in wording.too_few(
        rule, "X", c
    )


def test_a_check_that_is_passed_over_says_why() -> None:
    rule = replace(JSON, name="json[vs champion]")
    assert wording.passed_over(rule, "there is no champion yet (new model)") == (
        "json[vs champion]: passed over, since there is no champion yet (new model)"
    )
