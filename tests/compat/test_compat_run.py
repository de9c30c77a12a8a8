"""The checks as a whole: what belongs together passes, in a fixed order, and waivers have an end."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from compat_family import blocking, copy, edit_weights, findings, finetuned, save_tokenizer

from pipeline.compat import CHECKS, Topic, check, run_checks
from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.recipe import parse_recipe
from pipeline.sources import Reference, open_source
from pipeline.waivers import Waiver

CODES = [
    "architecture",
    "shapes",
    "tokenizer",
    "chat-template",
    "lineage",
    "adapters",
    "values",
    "licences",
]
WAIVER = Waiver("values", "A. Person", "known", date(2030, 1, 31))


def test_a_base_its_adapter_and_its_finetune_belong_together(base: Path) -> None:
    all_found = findings(base, f"{base}+{base.parent / 'tone'}", finetuned(base, "json"))
    assert [f.message for f in all_found if f.blocks] == []
    assert {f.code for f in all_found} == {*CODES, "plan"}


def test_findings_come_in_the_order_of_checks_and_the_same_each_time(base: Path) -> None:
    arguments = (base, f"{base}+{base.parent / 'tone'}", finetuned(base, "json"))
    first = findings(*arguments)
    assert first == findings(*arguments)
    assert sorted({f.code for f in first}, key=[f.code for f in first].index) == [*CODES, "plan"]


def test_a_recipe_that_cannot_be_planned_over_sound_sources_is_found(base: Path) -> None:
    recipe = {
        "merge_method": "passthrough",
        "slices": [{"sources": [{"model": str(base), "layer_range": [0, 99]}]}],
    }
    reference = Reference.parse(str(base))
    found = run_checks(parse_recipe(recipe, "r.yaml"), {str(base): open_source(reference)})
    (plan,) = [finding for finding in found if finding.blocks]
    assert plan.code == "plan"
    assert "layer_range [0, 99]" in plan.message


def test_sources_that_do_not_fit_are_not_planned(base: Path) -> None:
    broken = edit_weights(copy(base, "broken"), {"model.norm.weight": lambda w: w * float("nan")})
    assert "plan" not in {finding.code for finding in findings(base, broken)}


def test_all_blocking_checks_are_reported_together(base: Path) -> None:
    broken = edit_weights(copy(base, "broken"), {"model.norm.weight": lambda w: w * float("nan")})
    save_tokenizer(broken, ["<new>"], template="{{ messages[0].content }}")
    assert {"tokenizer", "chat-template", "values"} <= set(blocking(base, broken))


def test_without_a_base_the_first_model_is_what_others_are_held_against(base: Path) -> None:
    first, second = finetuned(base, "one"), finetuned(base, "two")
    subjects = {f.subject for f in findings(None, first, second) if f.code == "architecture"}
    assert subjects == {str(second)}


@pytest.fixture
def broken(base: Path) -> tuple[Any, Any]:
    """A recipe and its sources, of which one has a NaN."""
    folder = edit_weights(copy(base, "bad"), {"model.norm.weight": lambda w: w * float("nan")})
    models = [{"model": str(folder), "parameters": {"weight": 1}}]
    recipe = parse_recipe(
        {"merge_method": "linear", "base_model": str(base), "models": models}, "recipe.yaml"
    )
    return recipe, {
        name: open_source(r) for name, r in zip(("base", "bad"), recipe.references(), strict=True)
    }


def values_finding(broken: tuple[Any, Any], waiver: Waiver, today: date) -> Finding:
    (finding,) = [
        f
        for f in run_checks(*broken, [waiver], today=today)
        if f.code == "values" and f.subject == "bad"
    ]
    return finding


@pytest.mark.parametrize("subject", ["values", "values:bad"])
def test_a_waived_finding_does_not_block_and_says_who_waived_it(
    broken: tuple[Any, Any], subject: str
) -> None:
    finding = values_finding(broken, replace(WAIVER, check=subject), date(2030, 1, 31))
    assert (finding.status, finding.blocks) == ("waived", False)
    assert finding.message.endswith("Waived by A. Person until 2030-01-31: known")


@pytest.mark.parametrize("check_name", ["values:base", "architecture", "value"])
def test_a_waiver_covers_what_it_names_and_nothing_else(
    broken: tuple[Any, Any], check_name: str
) -> None:
    finding = values_finding(broken, replace(WAIVER, check=check_name), date(2029, 1, 1))
    assert finding.status == "fail"


def test_an_expired_waiver_blocks_and_is_mentioned(broken: tuple[Any, Any]) -> None:
    finding = values_finding(broken, WAIVER, date(2030, 2, 1))
    assert finding.status == "fail"
    assert "A waiver has expired (by A. Person until 2030-01-31: known)" in finding.message


def test_two_checks_cannot_have_one_code() -> None:
    before = dict(CHECKS)
    with pytest.raises(ValueError, match="two checks have the code 'values'"):
        check(Topic("values", "again"))(lambda facts: [])
    assert before == CHECKS


def test_no_model_is_nothing_to_check(broken: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="names no model"):
        run_checks(broken[0], {})
