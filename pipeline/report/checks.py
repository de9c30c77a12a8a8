"""The checks of a verdict as the page shows them: one for each artifact, with figures where it has any."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.report.lenient import at, entries, figure, words
from pipeline.report.wording import gap, look, value

SAFETY = "safety"


@dataclass(frozen=True)
class Check:
    """A row of figures. Differences are in the metric's units, positive where the candidate is better."""

    name: str
    artifact: str  # merged, quantized
    safety: bool
    look: Mapping[str, str]
    difference: float | None
    lower: float | None  # one-sided bounds
    upper: float | None
    margin: float | None  # the largest loss allowed, 0 or more
    shown: Mapping[str, str]  # the same and more, as text

    @property
    def drawn(self) -> bool:
        """Whether it has all that a plot needs."""
        return None not in (self.difference, self.lower, self.upper, self.margin)


def checks_of(verdict: Mapping[str, Any]) -> list[Check]:
    """The checks with a row, those of one name together, in the order in which names first occur."""
    waived = {_key(r) for r in entries(verdict, "reasons") if words(r, "waiver")}
    found = [_check(row, _key(row) in waived) for row in entries(verdict, "rows")]
    order = {name: place for place, name in reversed(list(enumerate(c.name for c in found)))}
    return sorted(found, key=lambda c: (c.safety, order[c.name]))


def methods_of(checks: Iterable[Check]) -> list[tuple[str, list[str]]]:
    """(statistical method, names of the checks that it judged), in the order in which they occur."""
    found: dict[str, dict[str, None]] = {}
    for check in checks:
        if method := check.shown["method"]:
            found.setdefault(method, {})[check.name] = None
    return [(method, list(names)) for method, names in found.items()]


def reasons_of(verdict: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reasons by artifact, each with its look: [{artifact, reasons: [{text, waiver, look}]}]."""
    reasons = entries(verdict, "reasons")
    artifacts = dict.fromkeys(words(r, "artifact") for r in reasons)
    return [
        {"artifact": name, "reasons": [_reason(r) for r in reasons if words(r, "artifact") == name]}
        for name in artifacts
    ]


def against(verdict: Mapping[str, Any], *, waived: bool = False) -> list[dict[str, Any]]:
    """The reasons that speak against promotion: those that nobody waived, or those that somebody did."""
    told = (_reason(r) for r in entries(verdict, "reasons") if at(r, "outcome") != "promote")
    return [reason for reason in told if bool(reason["waiver"]) == waived]


def directions(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """«higher» or «lower», whichever is better, by (skill, metric), as far as the rows tell.

    Rows of the first schema do not say it, but their differences are positive where better.
    """
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        difference = figure(row, "difference")
        ours, theirs = figure(row, "candidate_mean"), figure(row, "reference_mean")
        said = words(row, "direction")
        if not said and difference and ours is not None and theirs is not None:
            said = "higher" if (ours - theirs) * difference > 0 else "lower"
        if said:
            found[words(row, "rule") or words(row, "check"), words(row, "metric")] = said
    return found


def _key(value: Mapping[str, Any]) -> tuple[str, str]:
    return words(value, "artifact"), words(value, "check")


def _reason(reason: Mapping[str, Any]) -> dict[str, Any]:
    waiver = words(reason, "waiver")
    return {
        "text": words(reason, "text"),
        "check": words(reason, "check"),
        "artifact": words(reason, "artifact"),
        "waiver": waiver,
        "look": look(words(reason, "outcome"), bool(waiver)),
    }


def _check(row: Mapping[str, Any], waived: bool) -> Check:
    lower, upper, margin = (figure(row, key) for key in ("lower", "upper", "margin"))
    limit = None if margin is None else -margin
    shown = {key: value(row, key, "floor") for key in ("candidate_mean", "bound")}
    shown |= {key: value(row, key) for key in ("reference_mean", "floor")}
    shown |= {key: words(row, key) for key in ("n", "metric", "reference", "method", "needed_n")}
    shown |= {
        "gap": gap(row, figure(row, "difference"), limit),
        "lower": gap(row, lower, limit, unit=False),
        "upper": gap(row, upper, limit, unit=False),
        "margin": gap(row, limit, unit=False),
    }
    return Check(
        name=words(row, "check"),
        artifact=words(row, "artifact"),
        safety=at(row, "kind") == SAFETY,
        look=look(words(row, "outcome"), waived),
        difference=figure(row, "difference"),
        lower=lower,
        upper=upper,
        margin=margin,
        shown=shown,
    )
