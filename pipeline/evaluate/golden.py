"""Golden sets: JSON Lines of held-out examples, read exactly as they are written.

The `datasets` library is not used for them: it gives every row the keys of all rows, with null for
what a row does not have, so a target that is a JSON object would change with its neighbours.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import InputError

_SHOWN = 10  # faults listed of one file


def read_golden(path: Path) -> tuple[dict[str, Any], ...]:
    """The rows of a golden set, in file order; each an object with a unique, non-empty string `id`.

    Raises InputError that lists the faulty lines; an empty set is a fault.
    """
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            rows.append(_row(line))
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
    repeated = [name for name, count in Counter(row["id"] for row in rows).items() if count > 1]
    faults += [
        f"{path}: id {name!r} occurs more than once; ids must be unique." for name in repeated
    ]
    if not rows and not faults:
        faults.append(f"{path}: has no rows. A golden set needs at least one example.")
    if faults:
        more = [f"{path}: and {len(faults) - _SHOWN} more."] if len(faults) > _SHOWN else []
        raise InputError.of(faults[:_SHOWN] + more)
    return tuple(rows)


def _lines(path: Path) -> list[str]:
    try:
        # Not splitlines(): U+2028 and its like may stand inside a JSON string.
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such golden set. "
            "Write it as JSON Lines, or correct evaluate.golden in params.yaml."
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8.") from None
    return text.removesuffix("\n").split("\n") if text else []


def _row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error}). One object a line, nothing between them.") from None
    if not isinstance(row, dict):
        raise ValueError(f"is a {type(row).__name__}; each line must be a JSON object.")
    if not isinstance(row.get("id"), str) or not row["id"].strip():
        raise ValueError(f"id is {row.get('id')!r}; it must be a non-empty string.")
    return row


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON; use null or a number.")
