"""What the registry holds: champion, history, changes; and the uses of the golden sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flows.say.console import counted, escape, facts, line, table, terminal


def status(report: Mapping[str, Any]) -> None:
    """Champion, rollback target, then one line for each version and each refusal, and the last changes."""
    champion = report["champion"]
    _on_top(report)
    facts(
        report["name"],
        {
            "champion": _version(champion),
            "way back": _version(report["target"]),
            **_target(report["target_look"]),
        },
    )
    rows = table("version", "kind", "candidate", "created (UTC)", "note")
    for entry in report["history"]:
        note = f"rolled back: {entry['rolled_back']}" if entry["rolled_back"] else ""
        note = "champion" if entry == champion else note
        cells = (str(entry["version"]), entry["kind"] or "–", entry["candidate"] or "–")
        rows.add_row(*cells, _moment(entry["created"]), escape(note))
    for entry in report["refusals"]:
        note = f"{entry['outcome']}, run {entry['run_id']}"
        rows.add_row("–", "refusal", entry["candidate"], _moment(entry["created"]), note)
    terminal().print(rows)
    _changes(report["changes"])
    _notes(report)


def champion_at(report: Mapping[str, Any]) -> None:
    """Which version was champion at a time, and the change that made it so."""
    change, version = report["change"], report["version"]
    gone = {"version": change["version"], "kind": "gone from the registry"}
    shown = version or {**gone, "release_digest": change["release_digest"]}
    _on_top(report)
    lasts = "now" if report["moved_by_hand"] is None else "now, by what was recorded"
    facts(
        report["name"],
        {
            "at": report["moment"],
            "champion": _version(shown),
            "since": f"{change['when']}, change {change['number']}: {change['kind']} by {change['who']}",
            "why": change["why"],
            "until": report["until"] or lasts,
            **(
                {"verify": f"mergegate verify models:/{report['name']}/{change['version']}"}
                if version
                else {}
            ),
        },
    )
    _notes(report)


def _on_top(report: Mapping[str, Any]) -> None:
    """What whoever relies on the answer must read first."""
    if report["moved_to"]:
        terminal().print("[bold red]The model was moved to another registry.[/]")
        line(
            f"  It goes on in {report['moved_to']}; what follows is what was here when it was moved. "
            "Set registry.uri of params.yaml to that one."
        )
    _by_hand(report)
    faults = report["journal"]["faults"]
    if not faults:
        return
    terminal().print("[bold red]The journal does not bear out what follows.[/]")
    for fault in faults:
        line(f"  {fault}")
    line(
        f"  What follows is the registry's word alone. `mergegate doctor {report['name']}` says more."
    )


def _by_hand(report: Mapping[str, Any]) -> None:
    """That the alias is not where the last change left it, or may not be yet, where that is so."""
    doctor = f"`mergegate doctor {report['name']}` says more."
    if (alias := report["moved_by_hand"]) is not None:
        where = f"at version {alias}" if alias else "gone"
        terminal().print("[bold red]The champion was moved by hand.[/]")
        line(
            f"  The alias champion is {where}, which no recorded change made: somebody moved it in MLflow. {doctor}"
        )
    if report["unfinished"] is not None:
        terminal().print("[bold red]A change of the champion is not finished.[/]")
        line(
            f"  Change {report['unfinished']} was claimed, and the alias may not be where it leaves it: the next "
            f"release or rollback finishes it. {doctor}"
        )


def _notes(report: Mapping[str, Any]) -> None:
    """Below an answer: how far the journal was compared with it."""
    for note in report["journal"]["notes"]:
        line(f"note: {note}")


def _target(look: Mapping[str, Any] | None) -> dict[str, str]:
    """Whether the rollback target is whole, and when it was rehearsed."""
    if look is None:
        return {}
    when = look["rehearsed"]
    rehearsed = f"rehearsed {_short(when)}" if when else "not rehearsed yet: a rollback loads it"
    return {"": "; ".join(look["faults"]) or f"whole, {rehearsed}"}


def _changes(changes: Sequence[Mapping[str, Any]]) -> None:
    """The last changes of the champion, newest first."""
    if not changes:
        return
    rows = table("change", "when (UTC)", "champion", "kind", "by", "why")
    for one in changes:
        before = "" if one["previous"] is None else f"{one['previous']} → "
        cells = (f"{before}{one['version']}", one["kind"], one["who"], one["why"])
        rows.add_row(str(one["number"]), _short(one["when"]), *map(escape, cells))
    console = terminal()
    console.print()
    console.print(rows)


def _version(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "none"
    return f"version {entry['version']}, {entry['kind']}, digest {entry['release_digest']}"


def _short(when: str) -> str:
    """A time in ISO 8601 to the minute."""
    return when[:16].replace("T", " ")


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def ledger(report: Mapping[str, Any]) -> None:
    """A line for each golden set with what is left of it, then one for each judgement."""
    console = terminal()
    title = f"{report['name']}: {counted(len(report['judgements']), 'judgement')}"
    lines = {
        f"{', '.join(found['skills'])} {found['digest'][:12]}": _uses(found, report["policy"])
        for found in report["golden_sets"]
    }
    facts(title, lines)
    if not report["judgements"]:
        return
    rows = table("when (UTC)", "candidate", "outcome", "weights", "recipe", "policy", "golden")
    for one in report["judgements"]:
        moment = one["when"][:16].replace("T", " ")
        digests = (one["weights"]["merged"], one["recipe"], one["policy"])
        sets = " ".join(f"{skill}:{d[:6]}" for skill, d in sorted(one["golden"].items()))
        cells = (one["candidate"], one["outcome"], *(d[:12] for d in digests), sets)
        rows.add_row(moment, *map(escape, cells))
    console.print()
    console.print(rows)


def _uses(found: Mapping[str, Any], policy: str | None) -> str:
    """What a golden set served, and what the policy leaves of it; nothing where the policy is not known."""
    served = f"{counted(found['candidates'], 'candidate')} judged"
    if found["allowed"] is None:
        return f"{served}; the policy states no limit" if policy else served
    if found["candidates"] < found["allowed"]:
        return f"{served}, {found['left']} of {found['allowed']} uses left"
    over = found["candidates"] - found["allowed"]
    beyond = f", {over} more than the policy allows" if over else ""
    return f"{served}{beyond}: used up after {found['allowed']}; fresh examples are due"
