"""Strict reading of a mapping from YAML: unknown keys are faults that name the nearest valid one.

A `Fields` collects every fault instead of stopping at the first, so that a user mends a file once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from datetime import date
from typing import Any, Literal

_MISSING = object()


def nearest(word: str, choices: Collection[str]) -> str:
    """The hint « Did you mean X?» for a mistyped `word`, or the list of `choices`."""
    close = difflib.get_close_matches(word, sorted(choices), n=1)
    return f" Did you mean {close[0]}?" if close else f" Valid: {', '.join(sorted(choices))}."


def shown(value: Any) -> str:
    """A value as a message quotes it: its repr, cut to 60 characters."""
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


class Fields:
    """One mapping of a YAML file, read key by key; `where` names it in messages («params.yaml: policy»)."""

    def __init__(self, value: Any, where: str, faults: list[str]) -> None:
        self.where, self.faults, self.seen = where, faults, set[str]()
        self.value: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        if not isinstance(value, Mapping):
            faults.append(f"{where} is {_kind(value)}; it must be a mapping of keys to values.")

    def get(self, key: str, parse: Callable[[Any], Any], must: str, default: Any = _MISSING) -> Any:
        """`parse(value of key)`, or `default` where the key is left out or null.

        Args:
            key: the key of this mapping.
            parse: gives the value, or raises TypeError, ValueError or KeyError for one of a wrong type or range.
            must: what the value must be, for the message: "a whole number, 1 or more".
            default: the value of a key that is not given; without it the key is required, and null is a fault.
        """
        self.seen.add(key)
        if self.value.get(key) is None:
            if default is _MISSING:
                state = "null" if key in self.value else "missing"
                self.faults.append(f"{self.where}.{key} is {state}; it must be {must}.")
                return None
            return default
        try:
            return parse(self.value[key])
        except (TypeError, ValueError, KeyError):
            self.faults.append(
                f"{self.where}.{key} is {shown(self.value[key])}; it must be {must}."
            )
            return None

    def done(self) -> None:
        """Report every key that nothing asked for."""
        self.faults.extend(
            f"{self.where}.{key} is not a key of {self.where}.{nearest(str(key), self.seen)}"
            for key in sorted(map(str, set(self.value) - self.seen))
        )


def text(value: Any) -> str:
    """A non-empty string, as it is."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def string(value: Any) -> str:
    """A string, which may be empty."""
    if not isinstance(value, str):
        raise ValueError
    return value


def whole(low: int, high: int | None = None) -> Callable[[Any], int]:
    """A parser of whole numbers from `low` to `high`, both included."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError
        if value < low or (high is not None and value > high):
            raise ValueError
        return value

    return parse


def number(
    low: float, high: float, ends: Literal["none", "low", "both"] = "none"
) -> Callable[[Any], float]:
    """A parser of finite numbers from `low` to `high`; `ends` says which of the two belong."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        try:
            found = float(value)
        except OverflowError:
            raise ValueError from None
        inside = low < found < high
        inside |= found == low and ends in ("low", "both")
        inside |= found == high and ends == "both"
        if not (inside and math.isfinite(found)):
            raise ValueError
        return found

    return parse


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError
    return value


def day(value: Any) -> date:
    """A date: as YAML gives one for 2026-12-31, or the text "2026-12-31"; with no time of day."""
    return value if type(value) is date else date.fromisoformat(text(value))


def one_of(*choices: str) -> Callable[[Any], str]:
    """A parser of one of the strings `choices`."""

    def parse(value: Any) -> str:
        if value not in choices:
            raise ValueError
        return str(value)

    return parse


def mapping(value: Any) -> dict[str, Any]:
    """A mapping with string keys, as a dict in its own order."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError
    return dict(value)


def sequence(value: Any) -> list[Any]:
    """A list, or a tuple that stands for one."""
    if not isinstance(value, list | tuple):
        raise ValueError
    return list(value)


def filled(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A parser of what `parse` takes, a text, list or mapping, unless it is empty."""

    def parse_filled(value: Any) -> Any:
        if not (found := parse(value)):
            raise ValueError
        return found

    return parse_filled


def _kind(value: Any) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"
