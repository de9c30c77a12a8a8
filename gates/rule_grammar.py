"""How a rule of the policy is read from a mapping as YAML gives it; every fault is reported."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gates.rule import (
    BASE,
    BEST_EXPERT,
    CHAMPION,
    UNMERGED,
    AlsoRule,
    Kind,
    Rule,
    SliceRule,
    attribute_text,
)
from pipeline.strict import Fields, filled, mapping, number, one_of, sequence, text, whole

ALPHA = (
    "a number above 0 and below 0.5: the chance you accept that a result is wrong. "
    "Use for example 0.05"
)


def parse_rules(
    value: Mapping[str, Any] | None, kind: Kind, alpha: float, where: str, faults: list[str]
) -> tuple[Rule, ...]:
    """The rules of `skills` or `safety`, in the order of the file; what is wrong goes to `faults`."""
    return tuple(
        _rule(name, kind, entry, alpha, f"{where}.{name}", faults)
        for name, entry in (value or {}).items()
    )


_RANGE = "the two ends of the metric, the lower one first, for example [0, 1]"
_REFERENCE = f"{BEST_EXPERT}, {BASE}, {CHAMPION}, or the name of a variant to compare with"
_FIELD = "the name of a field of the golden rows: letters, digits, _, - and ."


def _rule(name: str, kind: Kind, value: Any, alpha: float, where: str, faults: list[str]) -> Rule:
    fields = Fields(value, where, faults)
    low, high = fields.get("range", _range, _RANGE, (0.0, 1.0)) or (0.0, 1.0)
    margin, floor = _limits(low, high)
    rule = Rule(
        name=name,
        kind=kind,
        metric=fields.get("metric", text, "the name of a metric that the skill's task reports"),
        low=low,
        high=high,
        direction=fields.get("direction", one_of("higher", "lower"), "higher or lower", "higher"),
        reference=fields.get("reference", text, _REFERENCE),
        margin=fields.get("margin", number(0, high - low, ends="low"), margin),
        floor=fields.get("floor", number(low, high, ends="both"), floor),
        alpha=fields.get("alpha", number(0, 0.5), ALPHA, alpha),
        cluster=fields.get("cluster", _field, _FIELD, ""),
    )
    slices = fields.get("slices", filled(mapping), "a mapping of fields to what each must show", {})
    also = fields.get("also", filled(mapping), "a mapping of variants to a margin each", {})
    fields.done()
    return replace(
        rule,
        slices=tuple(
            _slice(rule, name, entry, f"{where}.slices", faults)
            for name, entry in (slices or {}).items()
        ),
        also=tuple(
            _also(rule, name, entry, f"{where}.also.{name}", faults)
            for name, entry in (also or {}).items()
        ),
    )


def _slice(rule: Rule, name: str, value: Any, where: str, faults: list[str]) -> SliceRule:
    """One slice; margin and floor are the rule's own where it names none."""
    if not _FIELD_NAME.fullmatch(name):
        faults.append(f"{where} names {name!r}; it must be {_FIELD}.")
    fields = Fields(value, f"{where}.{name}", faults)
    margin, floor = _limits(rule.low, rule.high)
    span = rule.high - rule.low
    only = "a list of values of the field, each once"
    one = SliceRule(
        field=name,
        margin=fields.get("margin", number(0, span, ends="low"), margin, rule.margin),
        floor=fields.get("floor", number(rule.low, rule.high, ends="both"), floor, rule.floor),
        only=fields.get("only", _values, only, ()),
        least=fields.get("min", whole(1), "a whole number of samples, 1 or more", 1),
    )
    fields.done()
    return one


def _also(rule: Rule, name: str, value: Any, where: str, faults: list[str]) -> AlsoRule:
    experts = {BEST_EXPERT, UNMERGED}  # two words for the same comparison
    if name == rule.reference or {name, rule.reference} == experts:
        faults.append(
            f"{where} is the reference of the rule already. Leave it out, or choose another."
        )
    fields = Fields(value, where, faults)
    margin, _ = _limits(rule.low, rule.high)
    span = rule.high - rule.low
    one = AlsoRule(name, fields.get("margin", number(0, span, ends="low"), margin))
    fields.done()
    return one


def _limits(low: float, high: float) -> tuple[str, str]:
    """What a margin and a floor must be, for a metric of this range."""
    margin = (
        f"a number, 0 or more and below {high - low:g} (the width of range): "
        "how much worse than the reference is still good enough, in the metric's units; "
        "5 points of a hundred are 0.05"
    )
    floor = (
        f"a number from {low:g} to {high:g} (the range): "
        "the mean to reach whatever the reference does"
    )
    return margin, floor


_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def _field(value: Any) -> str:
    if not isinstance(value, str) or not _FIELD_NAME.fullmatch(value):
        raise ValueError
    return value


def _values(value: Any) -> tuple[str, ...]:
    found = tuple(map(attribute_text, filled(sequence)(value)))
    if len(set(found)) < len(found) or "" in found:
        raise ValueError
    return found


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ValueError
    low, high = (number(-math.inf, math.inf)(end) for end in value)
    if low >= high:
        raise ValueError
    return low, high
