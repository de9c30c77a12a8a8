"""What a candidate must show to be promoted, fixed before it is judged.

Parsed once into frozen types. Every fault is reported, together; an unknown key names the nearest
valid one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Literal

from pipeline.errors import InputError
from pipeline.facts import digest_of
from pipeline.strict import Fields, filled, mapping, number, one_of, text
from pipeline.waivers import Waiver, parse_waivers

Kind = Literal["skill", "safety"]
Direction = Literal["higher", "lower"]

BEST_EXPERT = "best-expert"
LATENCY = "latency"  # the name of the latency check, in waivers and in the verdict


@dataclass(frozen=True)
class Rule:
    """What one skill or safety suite must show; figures are in the metric's units."""

    name: str
    kind: Kind
    metric: str
    low: float  # the metric's range
    high: float
    direction: Direction  # whether a higher or a lower score is the better one
    reference: str  # BEST_EXPERT, "base", or the name of a variant
    margin: float  # how much worse than the reference is still good enough
    floor: float  # the mean to reach whatever the reference does; a ceiling where lower is better
    alpha: float  # the chance of a wrong bound, each side by itself

    def meets_floor(self, mean: float) -> bool:
        """Whether a mean is on the good side of the floor, or on it."""
        return mean >= self.floor if self.direction == "higher" else mean <= self.floor


@dataclass(frozen=True)
class LatencyRule:
    """How many times the P50 or P95 of base plus adapter the merge may take."""

    metric: str
    max_ratio: float


@dataclass(frozen=True)
class Policy:
    """The whole policy. `safety` entries are vetoes: no waiver can name one."""

    alpha: float
    skills: tuple[Rule, ...]
    safety: tuple[Rule, ...]
    latency: LatencyRule | None = None
    waivers: tuple[Waiver, ...] = field(default=())

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, skills first, in the order of the file."""
        return self.skills + self.safety

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the policy says, waivers included."""
        content = asdict(self)
        content["waivers"] = [waiver.to_json() for waiver in self.waivers]
        return digest_of(content)

    def waiver(self, check: str, today: date) -> Waiver | None:
        """The waiver of one check that is valid on `today`, or None."""
        return next((w for w in self.waivers if w.check == check and not w.expired(today)), None)

    @classmethod
    def parse(cls, value: Any, where: str = "params.yaml: policy") -> Policy:
        """A policy from a mapping as YAML gives it. Raises InputError that lists every fault."""
        faults: list[str] = []
        fields = Fields(value, where, faults)
        alpha = fields.get("alpha", number(0, 0.5), _ALPHA, 0.05)
        skills = fields.get(
            "skills", filled(mapping), "a mapping of one skill or more to what it must show"
        )
        safety = fields.get("safety", mapping, _SAFETY)
        policy = cls(
            alpha=alpha,
            skills=_rules(skills, "skill", alpha, f"{where}.skills", faults),
            safety=_rules(safety, "safety", alpha, f"{where}.safety", faults),
            latency=_latency(fields, faults),
            waivers=_waivers(fields, faults),
        )
        fields.done()
        faults += _clashes(policy, where)
        if faults:
            raise InputError.of(faults)
        return policy


_ALPHA = (
    "a number above 0 and below 0.5: the chance you accept that a result is wrong. "
    "Use for example 0.05"
)
_SAFETY = (
    "a mapping of safety suites to what they must show; write `safety: {}` to release without any"
)
_RANGE = "the two ends of the metric, the lower one first, for example [0, 1]"
_REFERENCE = f"{BEST_EXPERT}, base, or the name of a variant to compare with"


def _rules(
    value: Mapping[str, Any] | None, kind: Kind, alpha: float, where: str, faults: list[str]
) -> tuple[Rule, ...]:
    return tuple(
        _rule(name, kind, entry, alpha, f"{where}.{name}", faults)
        for name, entry in (value or {}).items()
    )


def _rule(name: str, kind: Kind, value: Any, alpha: float, where: str, faults: list[str]) -> Rule:
    fields = Fields(value, where, faults)
    low, high = fields.get("range", _range, _RANGE, (0.0, 1.0)) or (0.0, 1.0)
    margin = (
        f"a number, 0 or more and below {high - low:g} (the width of range): "
        "how much worse than the reference is still good enough, in the metric's units; "
        "5 points of a hundred are 0.05"
    )
    floor = (
        f"a number from {low:g} to {high:g} (the range): "
        "the mean to reach whatever the reference does"
    )
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
        alpha=fields.get("alpha", number(0, 0.5), _ALPHA, alpha),
    )
    fields.done()
    return rule


def _latency(fields: Fields, faults: list[str]) -> LatencyRule | None:
    value = fields.get("latency", mapping, "a mapping of metric and max_ratio", None)
    if value is None:
        return None
    inner = Fields(value, f"{fields.where}.latency", faults)
    ratio = "a number above 0: how many times the latency of base plus adapter is still good enough"
    rule = LatencyRule(
        metric=inner.get("metric", one_of("p50", "p95"), "p50 or p95"),
        max_ratio=inner.get("max_ratio", number(0, math.inf), ratio),
    )
    inner.done()
    return rule


def _waivers(fields: Fields, faults: list[str]) -> tuple[Waiver, ...]:
    fields.seen.add("waivers")
    return parse_waivers(fields.value.get("waivers", ()), f"{fields.where}.waivers", faults)


def _clashes(policy: Policy, where: str) -> list[str]:
    """Faults between entries, each of them well formed by itself."""
    skills, safety = {r.name for r in policy.skills}, {r.name for r in policy.safety}
    faults = [
        f"{where}: {name!r} is both in skills and in safety; a name may stand once. Rename one."
        for name in sorted(skills & safety)
    ]
    if LATENCY in skills | safety:
        faults.append(f"{where}: {LATENCY!r} is the name of the latency check. Rename the skill.")
    checks = [w.check for w in policy.waivers if w.check]
    faults += [
        f"{where}.waivers: {check!r} is a safety suite, which is a veto; a veto cannot be waived. "
        "Remove the waiver."
        for check in sorted(set(checks) & safety)
    ]
    faults += [
        f"{where}.waivers: {check!r} is waived {checks.count(check)} times. Keep one of them."
        for check in sorted(set(checks))
        if checks.count(check) > 1
    ]
    return faults


def _range(value: Any) -> tuple[float, float]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise ValueError
    low, high = (number(-math.inf, math.inf)(end) for end in value)
    if low >= high:
        raise ValueError
    return low, high
