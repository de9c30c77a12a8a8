"""Waivers: one named person lets one failing check pass, for a reason, until the end of a day.

They stand in the policy. The compatibility checks and the gate read the same ones, and each heeds
those that name a check of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pipeline.strict import Fields, day, sequence, shown, text

# The compatibility checks by their codes. Not asked of pipeline.compat, whose import takes seconds;
# a test holds the two together.
COMPATIBILITY = frozenset(
    {
        "adapters",
        "architecture",
        "chat-template",
        "licences",
        "lineage",
        "shapes",
        "tokenizer",
        "values",
    }
)


@dataclass(frozen=True)
class Waiver:
    """Who lets what pass, why, and up to and including which day."""

    # A check of the gate: a skill, one of its slices («json[language=de]»), a further reference
    # («json[vs plain]»), "latency". Or the code of a compatibility check, or `code:subject`.
    check: str
    name: str
    reason: str
    expires: date

    @property
    def words(self) -> str:
        """All of it but the check, for a sentence: «by Ann Lee until 2026-06-30: new schema»."""
        return f"by {self.name} until {self.expires.isoformat()}: {self.reason}"

    @property
    def subject(self) -> str:
        """The skill or the code that the check belongs to: «json» for «json[language=de]»."""
        return self.check.partition("[")[0].partition(":")[0]

    def expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.expires

    def to_json(self) -> dict[str, Any]:
        """The waiver as JSON values. `from_json` gives the same waiver back."""
        return {**asdict(self), "expires": self.expires.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Waiver:
        """Read `to_json` back. Raises KeyError, TypeError or ValueError where it is no waiver."""
        return cls(**{**value, "expires": date.fromisoformat(value["expires"])})


def parse_waivers(value: Any, where: str, faults: list[str]) -> tuple[Waiver, ...]:
    """The waivers of the list `value`, as YAML gives it; `where` names it in messages.

    Every fault is added to `faults`. Which checks exist is for the reader of the waivers to know.
    """
    try:
        entries = sequence(value)
    except ValueError:
        faults.append(f"{where} is {shown(value)}; it must be a list of waivers; [] for none.")
        return ()
    return tuple(_parse(entry, f"{where}[{n}]", faults) for n, entry in enumerate(entries, 1))


def _parse(entry: Any, where: str, faults: list[str]) -> Waiver:
    fields = Fields(entry, where, faults)
    waiver = Waiver(
        check=fields.get("check", text, "the skill or the code of the check that it waives"),
        name=fields.get("name", text, "the name of the person who answers for it"),
        reason=fields.get("reason", text, "the reason, in words"),
        expires=fields.get("expires", day, "the last day on which it holds, as YYYY-MM-DD"),
    )
    fields.done()
    return waiver
