"""The rows of a golden set, read and looked at one by one: what each lacks, and which of them are alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Below it, a margin of 3 points cannot be shown to hold even by a candidate that equals its
# reference on every sample: at alpha 0.05 the bound is under -3 points for fewer than 88 samples.
MINIMUM = 100

FIELDS = {
    "id": "a text",
    "prompt": "a text",
    "target": "a text or an object",
    "category": "a text",
}

Row = Mapping[str, Any]


def read_rows(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of a JSON Lines file; or none, and what is wrong: no such file, or lines that are no JSON object."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        return [], f"{path}: {reason}"
    # Not splitlines: a JSON text may hold U+2028, which that takes for the end of a line.
    lines = text.removesuffix("\n").split("\n") if text else []
    rows = [_object(line) for line in lines]
    wrong = [str(number) for number, row in enumerate(rows, 1) if row is None]
    if wrong:
        shown = ", ".join(wrong[:5]) + (", …" if len(wrong) > 5 else "")
        return [], f"{path}: {len(wrong)} lines are no JSON object, or name a key twice: {shown}"
    return [row for row in rows if row is not None], ""


def records(rows: Sequence[Row], seen: Mapping[str, str]) -> list[dict[str, Any]]:
    """A record for each row: where it stands, what its fields are, keys for uniqueness, where its prompt was seen.

    Args:
        rows: the rows in file order.
        seen: by `prompt_key`, in which training or tuning data a prompt occurs.
    """
    found = []
    for line, row in enumerate(rows, 1):
        prompt = prompt_key(row.get("prompt"))
        found.append(
            {
                "row": f"line {line} ({row.get('id')}{_leak(seen, prompt)})",
                "id_key": str(row.get("id")),
                "prompt_key": prompt,
                "seen_in": seen.get(prompt),
                **{f"{field}_is": _kind(field, row.get(field)) for field in FIELDS},
            }
        )
    return found


def early_faults(path: Path, attributes: Sequence[str] = (), minimum: int = MINIMUM) -> list[str]:
    """What makes a golden set unfit by itself, in words, within milliseconds; the stage `golden` looks at the rest.

    Args:
        path: the test split of one skill.
        attributes: fields that every row must have besides.
        minimum: rows below which nothing can be shown.
    """
    rows, unread = read_rows(path)
    if unread:
        return [f"{unread}. Write a JSON object on each line, or correct evaluate.golden."]
    found = records(rows, {})
    faults = [
        _counted(path, f"{field} is not {kind}", wrong, f"Every row needs {field}, {kind}.")
        for field, kind in FIELDS.items()
        if (wrong := [one["row"] for one in found if one[f"{field}_is"] != kind])
    ]
    faults += [
        _counted(path, f"there is no {name}", lacking, "evaluate.skills names it in attributes.")
        for name in attributes
        if (
            lacking := [one["row"] for one, row in zip(found, rows, strict=True) if name not in row]
        )
    ]
    faults += [
        _counted(path, f"the {field} occurs before", repeated, f"Each {field} may stand once.")
        for field in ("id", "prompt")
        if (repeated := _repeated(found, f"{field}_key"))
    ]
    if len(rows) < minimum:
        faults.append(
            f"{path}: {len(rows)} samples, and a golden set needs {minimum} or more. "
            "A margin of a few points takes hundreds of them; `mergegate power` says how many."
        )
    return faults


def prompt_key(prompt: Any) -> str:
    """What two prompts share that differ only in case and white space."""
    return " ".join(str(prompt).casefold().split())


def _counted(path: Path, what: str, where: Sequence[str], remedy: str) -> str:
    rows = f"{len(where)} rows, first in" if len(where) > 1 else "one row,"
    return f"{path}: {what} in {rows} {where[0]}. {remedy}"


def _repeated(found: Sequence[Row], key: str) -> list[str]:
    first: Counter[str] = Counter()
    repeated = []
    for one in found:
        first[one[key]] += 1
        if first[one[key]] > 1:
            repeated.append(str(one["row"]))
    return repeated


def _kind(field: str, value: Any) -> str:
    """The wanted kind where the value is of it, else what it is; never null, which would pass."""
    filled = bool(value.strip()) if isinstance(value, str) else bool(value)
    allowed = (str, dict) if field == "target" else (str,)
    if isinstance(value, allowed) and filled:
        return FIELDS[field]
    return "missing or empty" if not filled else type(value).__name__


def _leak(seen: Mapping[str, str], prompt: str) -> str:
    return f", also in {seen[prompt]}" if prompt in seen else ""


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
