"""Rubric of a reply to a customer: five rules, one point each. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

MOST_WORDS = 35
SIGNED = re.compile(r"(regards|thanks|wishes),?\s+Harbor Support\W*$", re.IGNORECASE)


def greets(doc: Mapping[str, Any], answer: str) -> bool:
    """It opens with a greeting and the customer's name."""
    name = re.escape(doc["name"])
    return re.match(rf"\s*(hi|hello|dear)\s+{name}\b", answer, re.IGNORECASE) is not None


def feels(doc: Mapping[str, Any], answer: str) -> bool:
    """It answers the customer's mood: `feeling` is the word owed to it (sorry, understand, thank)."""
    return re.search(rf"\b{re.escape(doc['feeling'])}", answer, re.IGNORECASE) is not None


def names_product(doc: Mapping[str, Any], answer: str) -> bool:
    """It names the product in question."""
    return re.search(rf"\b{re.escape(doc['product'])}\b", answer, re.IGNORECASE) is not None


def promises_step(doc: Mapping[str, Any], answer: str) -> bool:
    """It promises, as «we will ...», the step that mends this issue."""
    return f"we will {doc['target']}".lower() in " ".join(answer.lower().split())


def is_brief_and_signed(doc: Mapping[str, Any], answer: str) -> bool:
    """It ends with the sign-off, within MOST_WORDS words."""
    return len(answer.split()) <= MOST_WORDS and SIGNED.search(answer) is not None


RUBRIC: tuple[Callable[[Mapping[str, Any], str], bool], ...] = (
    greets,
    feels,
    names_product,
    promises_step,
    is_brief_and_signed,
)


def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """`rubric`: how many of the five rules the answer keeps, 0 to 5."""
    return {"rubric": float(sum(rule(doc, results[0]) for rule in RUBRIC))}
