"""The forest plot: each difference with its interval, all in one unit, the margin of its own check.

In that unit every check asks the same: that the whole interval lies to the right of −1. Where no loss
is allowed (margin 0) the interval's larger end is the unit, and the limit lies at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.checks import Check
from pipeline.report.visible import clipped
from pipeline.report.wording import MINUS

# Margins from zero that are drawn; what lies beyond ends in an arrow.
_LEFT, _RIGHT = -5.0, 2.0
_LEAST_LEFT, _LEAST_RIGHT = -1.5, 0.75


@dataclass(frozen=True)
class Layout:
    """Where things stand, in units of the drawing. `stacked`: the label above its interval, for a phone."""

    name: str
    width: int
    left: int  # of the plot
    right: int
    row: int
    beside: int  # most characters of a name beside its interval; a longer one has a line of its own
    label: int  # most characters of that line
    stacked: bool


WIDE = Layout("wide", 960, 285, 650, 26, 20, 90, stacked=False)
NARROW = Layout("narrow", 340, 6, 334, 50, 15, 36, stacked=True)
_HEAD, _AXIS, _TITLE, _LINE = 8, 44, 34, 20


def forest(checks: Sequence[Check], layout: Layout) -> dict[str, Any]:
    """The geometry of the plot for the template; no rows where nothing can be drawn."""
    drawn = [check for check in checks if check.drawn]
    scale = _Scale(drawn, layout)
    y, before = float(_HEAD), ("", "")
    rows: list[dict[str, Any]] = []
    titles: list[dict[str, Any]] = []
    for check in drawn:
        group = "Safety suites: vetoes" if check.safety else "Skills"
        if group != before[0]:
            y += _TITLE + 8 if titles else _TITLE - 10
            titles.append({"text": group, "y": round(y - 10, 1)})
        first = (group, check.name) != before
        y += 6 if first and before[0] == group else 0
        alone = len(check.name) > layout.beside and (first or layout.stacked)
        y += _LINE if alone else 0
        rows.append(_row(check, first or layout.stacked, alone, y, scale, layout))
        y, before = y + layout.row, (group, check.name)
    ticks = [
        {"x": scale.x(place), "text": text}
        for place, text in ((-1.0, "margin"), (0.0, "as good"), *scale.further)
    ]
    return {
        "name": layout.name,
        "width": layout.width,
        "height": round(y + _AXIS, 1),
        "top": _HEAD,
        "bottom": round(y + 4, 1),
        "left": layout.left,
        "right": layout.right,
        "limit": scale.x(-1.0),
        "zero": scale.x(0.0),
        "titles": titles,
        "rows": rows,
        "ticks": ticks,
        "stacked": layout.stacked,
    }


class _Scale:
    """From margins to the drawing's units."""

    def __init__(self, checks: Sequence[Check], layout: Layout) -> None:
        ends = [_in_margins(check, end) for check in checks for end in (check.lower, check.upper)]
        self.low = max(_LEFT, min([_LEAST_LEFT, *(end - 0.2 for end in ends)]))
        self.high = min(_RIGHT, max([_LEAST_RIGHT, *(end + 0.2 for end in ends)]))
        self._left, self._right = layout.left, layout.right
        steps = range(-int(-self.low), int(self.high) + 1)
        self.further = [(float(n), f"{n}".replace("-", "−")) for n in steps if n not in (-1, 0)]

    def x(self, place: float) -> float:
        share = (min(max(place, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self._left + share * (self._right - self._left), 1)

    def beyond(self, place: float) -> bool:
        return not self.low <= place <= self.high


def _unit(check: Check) -> float:
    return check.margin or max(abs(check.lower or 0.0), abs(check.upper or 0.0)) or 1.0


def _in_margins(check: Check, place: float | None) -> float:
    return (place or 0.0) / _unit(check)


def _row(
    check: Check, named: bool, alone: bool, y: float, scale: _Scale, layout: Layout
) -> dict[str, Any]:
    lower, middle, upper = (
        _in_margins(check, place) for place in (check.lower, check.difference, check.upper)
    )
    name = clipped(check.name, layout.label) if named else ""
    text_y = round(y + (14 if layout.stacked else layout.row / 2 + 4.5), 1)
    above = _LINE if layout.stacked else _LINE + 2  # clear of the shaded part
    return {
        "name": name,
        "name_y": round(text_y - (above if alone else 0), 1),
        "alone": alone,
        "artifact": check.artifact,
        "look": check.look,
        "gap": check.shown["gap"],
        "interval": f"{check.shown['lower']} to {check.shown['upper']}",
        "margin": f"margin {check.shown['margin'].removeprefix(MINUS)}",
        "top": round(y, 1),
        "height": layout.row,
        "text_y": text_y,
        "y": round(y + (32 if layout.stacked else layout.row / 2), 1),
        "lower": scale.x(lower),
        "middle": scale.x(middle),
        "upper": scale.x(upper),
        "off_left": scale.beyond(lower) and lower < 0,
        "off_right": scale.beyond(upper) and upper > 0,
        "off": scale.beyond(middle),
        "limit": scale.x(-1.0 if check.margin else 0.0),
    }
