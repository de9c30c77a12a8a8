"""Golden sets that are fit to judge by: enough samples, all different, complete, none seen before.

A golden set is a JSONL file; each line is an object with id, prompt, target and category, and
whatever else its task needs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gates.expectations import Expectation, findings
from pipeline.facts import Finding

if TYPE_CHECKING:
    import pandas as pd

# Below it, a margin of 3 points cannot be shown to hold even by a candidate that equals its
# reference on every sample: at alpha 0.05 the bound is under -3 points for fewer than 88 samples.
MINIMUM = 100

FIELDS = {
    "id": "a text",
    "prompt": "a text",
    "target": "a text or an object",
    "category": "a text",
}


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


def _check(name: str, path: Path, seen: Mapping[str, str], minimum: int) -> list[Finding]:
    rows, faults = _read(name, path, "Write it, or correct evaluate.golden in params.yaml.")
    if faults:
        return faults
    return findings(name, _frame(rows, seen), _expectations(len(rows), minimum), names="row")


def _seen(splits: Mapping[str, Path]) -> tuple[dict[str, str], list[Finding]]:
    """Where each prompt of training and tuning data was first seen, and which files say nothing."""
    way_out = "Write it; an empty file says that no such data exists."
    seen: dict[str, str] = {}
    found: list[Finding] = []
    for split, path in splits.items():
        rows, faults = _read(split, path, way_out)
        found += faults
        for row in rows:
            seen.setdefault(_key(row.get("prompt")), split)
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


def _frame(rows: Sequence[Mapping[str, Any]], seen: Mapping[str, str]) -> pd.DataFrame:
    """One row per sample: where it stands, what its fields are, keys for uniqueness, and leaks."""
    import pandas as pd

    records = []
    for line, row in enumerate(rows, 1):
        prompt = _key(row.get("prompt"))
        records.append(
            {
                "row": f"line {line} ({row.get('id')}{_leak(seen, prompt)})",
                "id_key": str(row.get("id")),
                "prompt_key": prompt,
                "seen_in": seen.get(prompt),
                **{f"{field}_is": _kind(field, row.get(field)) for field in FIELDS},
            }
        )
    columns = ["row", "id_key", "prompt_key", "seen_in", *(f"{field}_is" for field in FIELDS)]
    return pd.DataFrame(records, columns=columns, dtype=object)


def _kind(field: str, value: Any) -> str:
    """The wanted kind where the value is of it, else what it is; never null, which would pass."""
    filled = bool(value.strip()) if isinstance(value, str) else bool(value)
    allowed = (str, dict) if field == "target" else (str,)
    if isinstance(value, allowed) and filled:
        return FIELDS[field]
    return "missing or empty" if not filled else type(value).__name__


def _leak(seen: Mapping[str, str], prompt: str) -> str:
    return f", also in {seen[prompt]}" if prompt in seen else ""


def _key(prompt: Any) -> str:
    return " ".join(str(prompt).casefold().split())


def _read(name: str, path: Path, way_out: str) -> tuple[list[dict[str, Any]], list[Finding]]:
    """The rows of a JSONL file, or one finding that names the lines which are no JSON object."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        return [], [_unread(name, f"{path}: {reason}", way_out)]
    # Not splitlines: a JSON text may hold U+2028, which that takes for the end of a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    rows = [_object(line) for line in lines]
    wrong = [str(number) for number, row in enumerate(rows, 1) if row is None]
    if wrong:
        shown = ", ".join(wrong[:5]) + (", …" if len(wrong) > 5 else "")
        what = f"{path}: {len(wrong)} lines are no JSON object, or name a key twice: {shown}"
        return [], [_unread(name, what, "Write one object on each line, without blank lines.")]
    return [row for row in rows if row is not None], []


def _object(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError
    return row


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
