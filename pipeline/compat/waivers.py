"""Waivers: one named person lets a blocking finding pass, for a reason, until the end of a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from pipeline.errors import InputError
from pipeline.facts import Finding
from pipeline.strict import Fields, text

WHERE = "params.yaml: policy.waivers"


@dataclass(frozen=True)
class Waiver:
    """`check` is the code of a check, or `code:subject` for one source alone."""

    check: str
    name: str
    reason: str
    expires: date

    def covers(self, finding: Finding) -> bool:
        """Whether it speaks of this finding, expired or not."""
        return self.check in (finding.code, f"{finding.code}:{finding.subject}")


def parse_waivers(entries: Sequence[Any]) -> tuple[Waiver, ...]:
    """The waivers of a policy. Raises InputError that lists every fault.

    A waiver whose check is no code of this package is kept: the gate has checks of its own.
    """
    faults: list[str] = []
    waivers = [_parse(entry, f"{WHERE}[{n}]", faults) for n, entry in enumerate(entries, 1)]
    if faults:
        raise InputError.of(faults)
    return tuple(waivers)


def waived(finding: Finding, waivers: Sequence[Waiver], today: date) -> Finding:
    """The finding, with status `waived` where it blocks and a waiver covers it on that day.

    The message says who waived it; a waiver that has expired is mentioned, and changes nothing.
    """
    covering = [waiver for waiver in waivers if finding.blocks and waiver.covers(finding)]
    for waiver in covering:
        if today <= waiver.expires:
            return replace(
                finding, status="waived", message=f"{finding.message} Waived {_words(waiver)}"
            )
    expired = [f" A waiver has expired ({_words(waiver)})." for waiver in covering]
    return replace(finding, message=finding.message + "".join(expired))


def _parse(entry: Any, where: str, faults: list[str]) -> Waiver:
    fields = Fields(entry, where, faults)
    waiver = Waiver(
        check=fields.get("check", text, "the code of the check that it waives"),
        name=fields.get("name", text, "the name of the person who answers for it"),
        reason=fields.get("reason", text, "the reason, in words"),
        expires=fields.get("expires", _date, "the last day on which it holds, as YYYY-MM-DD"),
    )
    fields.done()
    return waiver


def _words(waiver: Waiver) -> str:
    return f"by {waiver.name} until {waiver.expires}: {waiver.reason}"


def _date(value: Any) -> date:
    return value if type(value) is date else date.fromisoformat(value)
