"""References to models inside a recipe."""

from __future__ import annotations

from typing import Any

from pipeline.errors import InputError
from pipeline.sources.reference import Reference


def parse_reference(value: Any, where: str, faults: list[str]) -> Reference | None:
    """The reference that a recipe states at `where`, or None and a fault."""
    try:
        return Reference.parse(value)
    except InputError as error:
        faults.extend(f"{where}: {line}" for line in str(error).splitlines())
        return None
