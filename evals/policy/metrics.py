"""Score of an answer from the policy. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

CITATION = re.compile(
    r"\[([^\[\]]*)\]"
)  # all in square brackets counts, so a made-up section is an error


def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """`citation`: 1 where the answer cites the target section in square brackets, and no other."""
    return {"citation": float(set(CITATION.findall(results[0])) == {doc["target"]})}
