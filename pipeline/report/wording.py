"""Figures and outcomes as a person reads them. Colour is never alone: each outcome has a word and a symbol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report.lenient import figure, words

MINUS, NONE = "−", "–"
# By outcome: the class of its colour, its symbol, its word.
_LOOKS = {
    "promote": ("good", "✓", "Promote"),
    "reject": ("bad", "✗", "Reject"),
    "inconclusive": ("open", "?", "Inconclusive"),
    "cannot judge": ("none", "!", "Cannot judge"),
}
_WAIVED = ("waived", "≈", "Waived")


def look(outcome: str, waived: bool = False) -> dict[str, str]:
    """Class, symbol and word of an outcome; one that nobody knows looks like «cannot judge»."""
    known = _LOOKS.get(outcome, ("none", "!", outcome or "No verdict"))
    kind, symbol, word = _WAIVED if waived else known
    return {"kind": kind, "symbol": symbol, "word": word}


def is_share(row: Mapping[str, Any]) -> bool:
    """Whether the metric runs from 0 to 1 and reads as per cent.

    Rows of the first schema have no range; there the method tells, where it is one of proportions.
    """
    low, high = figure(row, "low"), figure(row, "high")
    if low is None or high is None:
        return "proportions" in words(row, "method")
    return (low, high) == (0.0, 1.0)


def value(row: Mapping[str, Any], key: str, limit: str = "") -> str:
    """A mean, floor or bound of the row's metric: «93.5 %», «4.899».

    `limit`: the key of a figure that it must not read as equal to where it differs.
    """
    found, other = figure(row, key), figure(row, limit) if limit else None
    if found is None:
        return NONE
    factor, least, unit = (100, 1, " %") if is_share(row) else (1, 3, "")
    apart = None if other is None else other * factor
    return f"{number(found * factor, _digits(found * factor, apart, least))}{unit}"


def gap(
    row: Mapping[str, Any], found: float | None, limit: float | None = None, *, unit: bool = True
) -> str:
    """A difference with its sign: «−1.4 points», «−0.101»; never as if it were a `limit` that it is not."""
    if found is None:
        return NONE
    factor, least = (100, 1) if is_share(row) else (1, 3)
    apart = None if limit is None else limit * factor
    text = signed(found * factor, _digits(found * factor, apart, least))
    return f"{text} points" if is_share(row) and unit else text


def ratio(found: float, limit: float | None = None) -> str:
    """A ratio of two times, likewise."""
    return number(found, _digits(found, limit, 2))


def _digits(found: float, limit: float | None, least: int) -> int:
    """So many that a figure which misses a limit, or clears it, does not read as if it lay on it."""
    for digits in range(least, 10):
        if limit is None or f"{found:.{digits}f}" != f"{limit:.{digits}f}":
            return digits
    return least  # they are equal, as stored


def number(found: float, digits: int) -> str:
    """Fixed digits, thousands apart, a true minus; never «−0.0»."""
    text = f"{found:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text.replace("-", MINUS)


def signed(found: float, digits: int) -> str:
    """The same with a plus where it is above zero as shown."""
    text = number(found, digits)
    return f"+{text}" if found > 0 and text.strip("0.,") else text


def mean(found: float | None) -> str:
    """A mean in the table of variants, as the model card has it."""
    return NONE if found is None else number(found, 3)


def brief(digest: str) -> str:
    """The first twelve characters of a digest: enough to tell two apart by eye."""
    return digest[:12]
