"""Scores of a ticket-routing tool call. Standard library only; the answer is hostile text and is only ever parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

ALLOWED: Mapping[str, frozenset[str] | None] = {  # None: any text that is not empty
    "tool": frozenset({"route_ticket"}),
    "order": None,
    "product": None,
    "queue": frozenset({"returns", "shipping", "billing", "technical"}),
    "priority": frozenset({"high", "normal", "low"}),
}


def process_results(doc: Mapping[str, Any], results: list[str]) -> dict[str, float]:
    """Binary scores of one answer.

    `parse`: the whole answer is one JSON object, no key twice. `schema`: it has the keys of the tool and no other, each
    a text that the tool allows. `exact`: it equals the target. Each includes the one before.
    """
    call = parse(results[0])
    schema = call is not None and follows_schema(call)
    return {
        "exact": float(schema and call == doc["target"]),
        "schema": float(schema),
        "parse": float(call is not None),
    }


def parse(answer: str) -> dict[str, Any] | None:
    """The JSON object that `answer` is, or None where it is anything else."""
    try:
        value = json.loads(answer, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def follows_schema(call: Mapping[str, Any]) -> bool:
    """Whether `call` has the tool's keys and no other, with texts that the tool allows."""
    return call.keys() == ALLOWED.keys() and all(_allowed(ALLOWED[key], call[key]) for key in call)


def _allowed(choices: frozenset[str] | None, value: Any) -> bool:
    return isinstance(value, str) and (value != "" if choices is None else value in choices)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
