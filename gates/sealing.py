"""Sealed golden sets: which bytes the policy was written for, and how often they may be used.

Testing many merges on one set selects those that suit its noise. So a policy can state the digest
of a set, and the number of candidates after which fresh examples are due. The count itself is kept
by a ledger outside the gate.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.strict import Fields, nearest, one_of, whole

WhenUsedUp = Literal["note", "block"]


@dataclass(frozen=True)
class Seal:
    """The golden set of one skill as the policy knows it."""

    skill: str
    golden: str  # SHA-256 of the file
    uses: int | None = None  # candidates that may be judged on it; None for any number
    when_used_up: WhenUsedUp = "note"

    def fault(self, golden: str) -> str:
        """Why a golden set is not the sealed one; "" where it is."""
        if golden == self.golden:
            return ""
        found = f"{golden[:12]}…" if golden else "unknown"
        return (
            f"its golden set is sealed as {self.golden[:12]}… in the policy, and the scores are "
            f"of one whose digest is {found}"
        )

    def used_up(self, uses: Mapping[str, int] | None) -> str:
        """Why fresh examples are due, by the ledger's count for each digest; "" where they are not.

        An unknown count is told too: what is not counted is not limited.
        """
        if self.uses is None:
            return ""
        if uses is None:
            return (
                f"{self.skill}: how many candidates were judged on its golden set is not known, "
                f"and the policy allows {self.uses}"
            )
        count = uses.get(self.golden, 0)
        if count <= self.uses:
            return ""
        return (
            f"{self.skill}: {count} candidates were judged on its golden set, and the policy "
            f"allows {self.uses}; the more are tried, the likelier one passes by luck"
        )


def parse_seals(
    value: Mapping[str, Any], rules: Collection[str], where: str, faults: list[str]
) -> tuple[Seal, ...]:
    """The seals of `sealed`, by skill; each names a rule of the policy."""
    faults += [
        f"{where} names {name!r}, which is no skill or safety suite of the policy."
        f"{nearest(name, rules)}"
        for name in value
        if name not in rules
    ]
    return tuple(_seal(name, entry, f"{where}.{name}", faults) for name, entry in value.items())


def _seal(name: str, value: Any, where: str, faults: list[str]) -> Seal:
    fields = Fields(value, where, faults)
    digest = "the SHA-256 of the golden set's file, 64 hexadecimal digits in small letters"
    uses = "a whole number, 1 or more: candidates that may be judged on the set"
    seal = Seal(
        skill=name,
        golden=fields.get("golden", _digest, digest),
        uses=fields.get("uses", whole(1), uses, None),
        when_used_up=fields.get("when_used_up", one_of("note", "block"), "note or block", "note"),
    )
    fields.done()
    if seal.uses is None and "when_used_up" in fields.value and "uses" not in fields.value:
        faults.append(f"{where}.when_used_up needs `uses`: without it the set is never used up.")
    return seal


def _digest(value: Any) -> str:
    if not isinstance(value, str) or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError
    return value
