"""Golden sets: what makes one fit to judge by, and how each defect is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gates.expectations import findings
from gates.golden import check_golden_sets
from pipeline.facts import Finding

Row = dict[str, Any]


def rows(prefix: str = "q", n: int = 120) -> list[Row]:
    return [
        {
            "id": f"{prefix}-{i:04d}",
            "prompt": f"{prefix}: what about order {i}?",
            "target": {"queue": "refunds", "order": i} if i % 2 else f"answer {i}",
            "category": "refund",
        }
        for i in range(n)
    ]


def write(path: Path, lines: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [
        line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines
    ]
    path.write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    return path


def checked(folder: Path, golden: list[Any], train: list[Any] | None = None) -> list[Finding]:
    """The findings that block for this golden set, with other prompts as training and tuning data."""
    splits = {
        "train": write(folder / "train.jsonl", rows("t") if train is None else train),
        "tune": write(folder / "tune.jsonl", rows("u")),
        "test": write(folder / "test.jsonl", golden),
    }
    found = check_golden_sets({"json": splits})
    return [finding for finding in found if finding.blocks]


def with_row(number: int, **changes: Any) -> list[Row]:
    golden = rows()
    golden[number] |= changes
    return golden


def test_a_good_set_passes_every_expectation(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", rows())
    found = check_golden_sets({"json": {"test": path}}, minimum=120)
    assert [f.status for f in found] == ["pass"] * 9
    assert {f.code for f in found} == {
        "golden-size",
        "golden-read",
        "golden-fields",
        "golden-ids",
        "golden-prompts",
        "golden-leak",
    }


def drop(key: str) -> Callable[[Row], Row]:
    return lambda row: {k: v for k, v in row.items() if k != key}


@pytest.mark.parametrize("field", ["id", "prompt", "target", "category"])
@pytest.mark.parametrize("value", [None, "", "  \n", 7, [], {}, float("nan"), False, "(absent)"])
def test_a_field_that_is_missing_or_empty_is_named_with_its_line(
    tmp_path: Path, field: str, value: Any
) -> None:
    golden = with_row(4, **{field: value})
    if value == "(absent)":
        golden[4] = drop(field)(golden[4])
    (finding,) = checked(tmp_path, golden)
    assert finding.code == "golden-fields"
    assert finding.status == "fail"
    assert finding.message.startswith(f"json: every row needs {field}, a text")
    assert "is not empty; 1 of 120 rows at fault: line 5 (" in finding.message


def test_an_object_is_a_target_but_not_a_prompt(tmp_path: Path) -> None:
    assert checked(tmp_path, with_row(4, target={"a": 1})) == []
    assert checked(tmp_path, with_row(4, prompt={"a": 1}))[0].code == "golden-fields"


def test_two_rows_with_the_same_id_are_named(tmp_path: Path) -> None:
    (finding,) = checked(tmp_path, with_row(4, id="q-0007"))
    assert finding.code == "golden-ids"
    assert "line 5 (q-0007), line 8 (q-0007)" in finding.message


def test_a_prompt_that_only_differs_in_case_and_space_counts_as_the_same(tmp_path: Path) -> None:
    (finding,) = checked(tmp_path, with_row(4, prompt="Q:  WHAT about\norder 7?"))
    assert finding.code == "golden-prompts"


@pytest.mark.parametrize("split", ["t", "u"])
def test_a_prompt_from_training_or_tuning_data_is_named_with_its_place(
    tmp_path: Path, split: str
) -> None:
    (finding,) = checked(tmp_path, with_row(4, prompt=f"{split}: What about order 3?"))
    assert finding.code == "golden-leak"
    place = {"t": "json train", "u": "json tune"}[split]
    assert f"line 5 (q-0004, also in {place})" in finding.message
    assert "what was trained on proves nothing" in finding.remedy


def test_a_set_that_is_too_small_or_empty_is_refused(tmp_path: Path) -> None:
    (finding,) = checked(tmp_path, rows(n=99))
    assert finding.message == "json: a golden set needs 100 samples or more; found 99."
    (finding,) = checked(tmp_path, [])
    assert finding.message == "json: a golden set needs 100 samples or more; found 0."


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '"text"', '{"id": "a", "id": "b"}', "[" * 100_000]
)
def test_a_line_that_is_no_json_object_is_named(tmp_path: Path, line: str) -> None:
    (finding,) = checked(tmp_path, [*rows(), line])
    assert finding.code == "golden-file"
    assert "1 lines are no JSON object, or name a key twice: 121" in finding.message


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    assert checked(tmp_path, with_row(4, prompt="one\u2028two")) == []


def test_text_that_is_not_utf8_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_bytes(b"\xff\xfe")
    (finding,) = check_golden_sets({"json": {"test": path}})
    assert finding.message == f"json: {path}: not UTF-8 text."


def test_training_data_that_is_missing_blocks_and_an_empty_file_says_there_is_none(
    tmp_path: Path,
) -> None:
    golden = write(tmp_path / "test.jsonl", rows())
    missing = tmp_path / "none.jsonl"
    found = check_golden_sets({"json": {"train": missing, "test": golden}})
    (finding,) = [f for f in found if f.blocks]
    assert finding.subject == "json train"
    assert finding.remedy == "Write it; an empty file says that no such data exists."
    empty = write(tmp_path / "empty.jsonl", [])
    found = check_golden_sets({"json": {"train": empty, "test": golden}})
    assert not any(finding.blocks for finding in found)


def sets(folder: Path, **golden: list[Row]) -> dict[str, dict[str, Path | None]]:
    return {
        name: {
            "train": write(folder / "train" / f"{name}.jsonl", rows(f"{name} t")),
            "tune": write(folder / "tune" / f"{name}.jsonl", rows(f"{name} u")),
            "test": write(folder / "test" / f"{name}.jsonl", test),
        }
        for name, test in golden.items()
    }


def test_all_sets_are_checked_and_all_faults_reported_together(tmp_path: Path) -> None:
    found = check_golden_sets(sets(tmp_path, json=rows("a", 99), tone=with_row(4, id="q-0007")))
    assert [(f.subject, f.code) for f in found if f.blocks] == [
        ("json", "golden-size"),
        ("tone", "golden-ids"),
    ]


def test_the_training_data_of_one_skill_may_not_hold_a_prompt_of_another(tmp_path: Path) -> None:
    leaked = with_row(4, prompt="tone t: what about order 3?")
    found = check_golden_sets(sets(tmp_path, json=leaked, tone=rows("b")))
    (finding,) = [f for f in found if f.blocks]
    assert finding.subject == "json"
    assert "also in tone train" in finding.message


def test_a_skill_without_a_test_split_is_refused(tmp_path: Path) -> None:
    (finding,) = check_golden_sets({"json": {"train": None, "tune": None, "test": None}})
    assert finding.message == "json: there is no test split."


def test_a_suite_without_expectations_shows_nothing() -> None:
    import pandas as pd

    (finding,) = findings("json", pd.DataFrame({"row": ["x"]}), [], names="row")
    assert finding.status == "cannot_judge"
    assert "0 of 0 expectations ran" in finding.message
