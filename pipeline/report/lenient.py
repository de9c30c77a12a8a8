"""Reading JSON values that may lack anything: older records, refused releases, skipped stages."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def at(value: Any, *keys: str) -> Any:
    """What lies at `keys`, one mapping inside the other; None where any of them is not there."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def part(value: Any, *keys: str) -> Mapping[str, Any]:
    """The same where it is a mapping; an empty one where it is not."""
    found = at(value, *keys)
    return found if isinstance(found, Mapping) else {}


def entries(value: Any, *keys: str) -> list[Mapping[str, Any]]:
    """The mappings of the list at `keys`; none where there is no list."""
    found = at(value, *keys)
    listed = found if isinstance(found, list | tuple) else ()
    return [one for one in listed if isinstance(one, Mapping)]


def words(value: Any, *keys: str) -> str:
    """The text at `keys`, numbers as JSON has them; "" where there is none."""
    found = at(value, *keys)
    if isinstance(found, str):
        return found
    return "" if found is None else json.dumps(found, ensure_ascii=False, sort_keys=True)


def figure(value: Any, *keys: str) -> float | None:
    """The finite number at `keys`, else None."""
    found = at(value, *keys)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def stored(path: Path) -> Mapping[str, Any]:
    """The JSON object in a file; an empty one where there is no file or no object in it.

    The report judges nothing: what is broken is for `mergegate verify` to name.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
