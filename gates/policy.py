"""What a candidate must show to be promoted, fixed before it is judged.

Parsed once into frozen types. Every fault is reported, together; an unknown key names the nearest
valid one.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from gates.rule import BEST_EXPERT, Direction, Kind, Rule
from gates.rule_grammar import ALPHA, parse_rules
from gates.sealing import Seal, parse_seals
from pipeline.errors import InputError
from pipeline.facts import digest_of
from pipeline.strict import Fields, filled, mapping, number, one_of
from pipeline.waivers import Waiver, parse_waivers

__all__ = ["BEST_EXPERT", "LATENCY", "Direction", "Kind", "LatencyRule", "Policy", "Rule"]

LATENCY = "latency"  # the name of the latency check, in waivers and in the verdict


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
    sealed: tuple[Seal, ...] = field(default=())

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Every rule, skills first, in the order of the file."""
        return self.skills + self.safety

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the policy says, waivers included."""
        return self._digest([waiver.to_json() for waiver in self.waivers])

    @property
    def fixed_digest(self) -> str:
        """SHA-256 over all but the waivers: what must not change once there are scores.

        A waiver answers a result, so it may come after it. Equals `digest` where there is none.
        """
        return self._digest([])

    def waiver(self, check: str, today: date) -> Waiver | None:
        """The waiver of one check that is valid on `today`, or None."""
        return next((w for w in self.waivers if w.check == check and not w.expired(today)), None)

    @classmethod
    def parse(cls, value: Any, where: str = "params.yaml: policy") -> Policy:
        """A policy from a mapping as YAML gives it. Raises InputError that lists every fault."""
        faults: list[str] = []
        fields = Fields(value, where, faults)
        alpha = fields.get("alpha", number(0, 0.5), ALPHA, 0.05)
        skills = fields.get(
            "skills", filled(mapping), "a mapping of one skill or more to what it must show"
        )
        safety = fields.get("safety", mapping, _SAFETY)
        sealed = fields.get("sealed", filled(mapping), "a mapping of skills to golden sets", {})
        names = {*(skills or {}), *(safety or {})}
        policy = cls(
            alpha=alpha,
            skills=parse_rules(skills, "skill", alpha, f"{where}.skills", faults),
            safety=parse_rules(safety, "safety", alpha, f"{where}.safety", faults),
            latency=_latency(fields, faults),
            waivers=_waivers(fields, faults),
            sealed=parse_seals(sealed or {}, names, f"{where}.sealed", faults),
        )
        fields.done()
        faults += _clashes(policy, where)
        if faults:
            raise InputError.of(faults)
        return policy

    def _digest(self, waivers: list[dict[str, Any]]) -> str:
        """Without what the policy leaves out, so that a new key changes no digest of old policies."""
        content = {**asdict(self), "waivers": waivers}
        rules = [*content["skills"], *content["safety"]]
        for part, keys in ((content, ("sealed",)), *((r, _OPTIONAL) for r in rules)):
            for key in keys:
                if not part[key]:
                    del part[key]
        return digest_of(content)


_OPTIONAL = ("cluster", "slices", "also")
_SAFETY = (
    "a mapping of safety suites to what they must show; write `safety: {}` to release without any"
)


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
    given = fields.value.get("waivers")
    return parse_waivers(() if given is None else given, f"{fields.where}.waivers", faults)


def _clashes(policy: Policy, where: str) -> list[str]:
    """Faults between entries, each of them well formed by itself."""
    skills, safety = {r.name for r in policy.skills}, {r.name for r in policy.safety}
    faults = [
        f"{where}: {name!r} is both in skills and in safety; a name may stand once. Rename one."
        for name in sorted(skills & safety)
    ]
    faults += [
        f"{where}: {name!r} holds a bracket, which marks slices: «json[language=de]». Rename it."
        for name in sorted(skills | safety)
        if set(name) & set("[]")
    ]
    if LATENCY in skills | safety:
        faults.append(f"{where}: {LATENCY!r} is the name of the latency check. Rename the skill.")
    waived = [w for w in policy.waivers if w.check]
    checks = [w.check for w in waived]
    faults += [
        f"{where}.waivers: {check!r} is a safety suite, which is a veto; a veto cannot be waived. "
        "Remove the waiver."
        for check in sorted({w.check for w in waived if w.subject in safety})
    ]
    faults += [
        f"{where}.waivers: {check!r} is waived {checks.count(check)} times. Keep one of them."
        for check in sorted(set(checks))
        if checks.count(check) > 1
    ]
    return faults
