"""The comparison table is whole, or the gate says what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from gates import expectations
from gates.table import check_table


@dataclass(frozen=True)
class Skill:
    metrics: tuple[str, ...]


VARIANTS = ("base", "json", "plain", "merged")
SKILLS = {
    "json": Skill(("exact", "schema")),
    "tone": Skill(("rubric",)),
}


def table() -> list[dict[str, Any]]:
    return [
        {"variant": variant, "skill": name, "metric": metric, "mean": 0.5}
        for variant in VARIANTS
        for name, skill in SKILLS.items()
        for metric in skill.metrics
    ]


def blocking(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {f.code: f.message for f in check_table(rows, VARIANTS, SKILLS) if f.blocks}


def test_a_whole_table_passes() -> None:
    found = check_table(table(), VARIANTS, SKILLS)
    assert [f.status for f in found] == ["pass"] * 5


def test_a_missing_row_is_found() -> None:
    assert set(blocking(table()[:-1])) == {"table-size", "table-cells"}


def test_an_empty_table_is_found() -> None:
    assert {"table-size", "table-not-empty"} <= set(blocking([]))


def test_a_table_of_nothing_that_wants_nothing_is_refused() -> None:
    assert "table-not-empty" in {f.code for f in check_table([], (), {}) if f.blocks}


def test_a_row_that_stands_for_another_is_found_though_the_number_is_right() -> None:
    assert set(blocking([*table()[:-1], table()[0]])) == {"table-cells", "table-once"}


def test_a_variant_that_nobody_asked_for_is_found() -> None:
    rows = [*table()[:-1], {**table()[-1], "variant": "other"}]
    assert set(blocking(rows)) == {"table-cells"}


@pytest.mark.parametrize("mean", [None, float("nan"), float("inf"), "0.5", True])
def test_a_mean_that_is_no_number_is_named(mean: Any) -> None:
    rows = table()
    rows[3]["mean"] = mean
    assert "json: json/exact" in blocking(rows)["table-means"]


def test_a_row_without_its_keys_is_found() -> None:
    assert blocking([*table()[:-1], {}])


def test_an_expectation_that_did_not_run_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    run = expectations._run

    def forgetful(*arguments: Any) -> dict[int, dict[str, Any]]:
        results = run(*arguments)
        del results[2]
        return results

    monkeypatch.setattr(expectations, "_run", forgetful)
    found = blocking(table())
    assert found == {
        "expectations-ran": (
            "comparison table: 4 of 5 expectations ran, so nothing is shown by them."
        )
    }
