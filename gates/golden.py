"""Golden sets that are fit to judge by: enough samples, all different, complete, none seen before.

A golden set is a JSONL file; each line is an object with id, prompt, target and category, and
whatever else its task needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gates.expectations import Expectation, findings
from gates.golden_rows import FIELDS, MINIMUM, prompt_key, read_rows, records
from pipeline.facts import Finding


def check_golden_sets(
    sets: Mapping[str, Mapping[str, Path | None]], *, minimum: int = MINIMUM
) -> list[Finding]:
    """Check the test split of every set; `sets` is {name: {"train" | "tune" | "test": path}}.

    That is the file, its fields, ids and size. Its prompts may occur in no train or tune split,
    those of the other sets included: the experts of all skills end up in one model. Prompts are the
    same where they differ only in case and white space. What cannot be read is a finding too:
    nothing is raised.
    """
    seen, found = _seen(
        {
            f"{name} {split}": path
            for name, splits in sets.items()
            for split, path in splits.items()
            if split != "test" and path is not None
        }
    )
    for name, splits in sets.items():
        path = splits.get("test")
        found += (
            [_unread(name, "there is no test split", "Add GOLDEN/test/SKILL.jsonl.")]
            if path is None
            else _check(name, path, seen, minimum)
        )
    return found


_COLUMNS = ("row", "id_key", "prompt_key", "seen_in", *(f"{field}_is" for field in FIELDS))


def _check(name: str, path: Path, seen: Mapping[str, str], minimum: int) -> list[Finding]:
    rows, fault = read_rows(path)
    if fault:
        return [_unread(name, fault, "Write it, or correct evaluate.golden in params.yaml.")]
    import pandas as pd

    found = records(rows, seen)
    frame = pd.DataFrame(found, columns=list(_COLUMNS), dtype=object)
    return findings(name, frame, _expectations(len(rows), minimum), names="row")


def _seen(splits: Mapping[str, Path]) -> tuple[dict[str, str], list[Finding]]:
    """Where each prompt of training and tuning data was first seen, and which files say nothing."""
    way_out = "Write it; an empty file says that no such data exists."
    seen: dict[str, str] = {}
    found: list[Finding] = []
    for split, path in splits.items():
        rows, fault = read_rows(path)
        found += [_unread(split, fault, way_out)] if fault else []
        for row in rows:
            seen.setdefault(prompt_key(row.get("prompt")), split)
    return seen, found


def _expectations(rows: int, minimum: int) -> list[Expectation]:
    """What is asked of the frame that `_frame` makes."""
    fill = "Fill the field, or remove the row."
    complete = [
        Expectation(
            code="golden-fields",
            title="Every field is filled",
            kind="ExpectColumnValuesToBeInSet",
            arguments={"column": f"{field}_is", "value_set": [kind]},
            required=f"every row needs {field}, {kind} that is not empty",
            remedy=fill,
        )
        for field, kind in FIELDS.items()
    ]
    return [
        Expectation(
            code="golden-size",
            title="Enough samples to judge by",
            kind="ExpectTableRowCountToBeBetween",
            arguments={"min_value": minimum},
            required=f"a golden set needs {minimum} samples or more",
            remedy="Add samples; a margin of a few points takes hundreds of them.",
        ),
        Expectation(
            code="golden-read",
            title="Every line was read",
            kind="ExpectTableRowCountToEqual",
            arguments={"value": rows},
            required=f"all {rows} lines must arrive at the check",
            remedy="Run the check again.",
        ),
        *complete,
        _unique("golden-ids", "id", "Give each row an id of its own."),
        _unique("golden-prompts", "prompt", "Remove the repetition: it counts one case twice."),
        Expectation(
            code="golden-leak",
            title="No prompt was seen before",
            kind="ExpectColumnValuesToBeNull",
            arguments={"column": "seen_in"},
            required="no prompt may occur in training or tuning data",
            remedy="Remove it from one of the two; what was trained on proves nothing.",
        ),
    ]


def _unique(code: str, field: str, remedy: str) -> Expectation:
    return Expectation(
        code=code,
        title=f"Every {field} is unique",
        kind="ExpectColumnValuesToBeUnique",
        arguments={"column": f"{field}_key"},
        required=f"no two rows may have the same {field}",
        remedy=remedy,
    )


def _unread(name: str, what: str, remedy: str) -> Finding:
    return Finding(
        code="golden-file",
        title="The file can be read",
        status="fail",
        subject=name,
        observed=what,
        required="a JSONL file with one object on each line",
        message=f"{name}: {what}.",
        remedy=remedy,
    )
