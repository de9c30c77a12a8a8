"""Score of a general question. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """`exact`: 1 where the answer is the target, but for case, outer spaces and a final full stop."""
    return {"exact": float(normal(results[0]) == normal(doc["target"]))}


def normal(text: str) -> str:
    """`text` without what the comparison overlooks."""
    return " ".join(text.lower().split()).removesuffix(".")
