"""All that the command prints: reports on standard output, failures on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import markup
from rich.console import Console
from rich.table import Table

from flows.record import Outcome
from pipeline.facts import Finding

if TYPE_CHECKING:
    from pipeline.merge import MergeReport
    from pipeline.merge.as_adapter import AdapterReport
    from pipeline.merge.estimate import Estimate

_PIPED = 240  # columns of a table that nobody's terminal bounds
_STATUS = {"pass": "green", "fail": "red", "cannot_judge": "yellow", "waived": "yellow"}
_MARKS = {"promote": "✓", "reject": "✗", "inconclusive": "?", "cannot judge": "!"}
_OUTCOME = {"promote": "green", "reject": "red", "inconclusive": "yellow", "cannot judge": "yellow"}


def escape(text: str) -> str:
    """`text` as it is printed: without markup, or control characters by which a file could rewrite the screen."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return markup.escape("".join(shown))


def line(text: str) -> None:
    """One plain line."""
    terminal().print(escape(text))


def as_json(value: Any) -> None:
    """`value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def failure(message: str, code: int) -> int:
    """The message of a failure on standard error; returns the exit code."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"[red]mergegate:[/red] {escape(message)}"
    )
    return code


def outcome(ended: Outcome) -> None:
    """The verdict in a sentence, its reasons by artifact, the table of variants, and where it was recorded."""
    console, colour = terminal(), _OUTCOME[ended.outcome]
    console.print(f"[bold {colour}]{ended.candidate}[/]  {escape(ended.sentence)}")
    if ended.changed:
        what = " and ".join(ended.changed)
        console.print(
            f"  [yellow]This is the verdict of the last release; the {what} changed since then. "
            f"Run `mergegate release {ended.candidate}` for a new one.[/]"
        )
    for artifact in dict.fromkeys(reason["artifact"] for reason in ended.reasons):
        console.print(f"  the {artifact} weights:")
        for reason in ended.reasons:
            if reason["artifact"] == artifact:
                mark = f"[{_OUTCOME[reason['outcome']]}]{_MARKS[reason['outcome']]}[/]"
                console.print(f"    {mark} {escape(reason['text'])}")
    if ended.scores:
        console.print()
        console.print(score_table(ended.scores))
    registered = {key: value for key, value in ended.registered.items() if value}
    if registered:
        console.print()
        _facts("registered in MLflow", registered)


def findings(found: Sequence[Finding], *, every: bool) -> None:
    """What does not pass, in full with its remedy; what passes, a line for each check unless `every` is set."""
    console = terminal()
    for code in dict.fromkeys(finding.code for finding in found):
        group = [finding for finding in found if finding.code == code]
        passed = [finding for finding in group if finding.status == "pass"]
        if passed and not every:
            noun = "source" if len(passed) == 1 else "sources"
            console.print(f"[green]{'pass':>12}[/]  [bold]{code}[/]  {len(passed)} {noun}")
        for finding in group if every else [f for f in group if f.status != "pass"]:
            mark = f"[{_STATUS[finding.status]}]{finding.status.replace('_', ' '):>12}[/]"
            console.print(f"{mark}  [bold]{finding.code}[/]  {escape(finding.message)}")
            if finding.blocks and finding.remedy:
                console.print(f"{'':>12}  {escape(finding.remedy)}")
    blocking = sum(finding.blocks for finding in found)
    console.print(f"{len(found)} findings, {blocking} of them blocking.")


def merged(report: MergeReport) -> None:
    """What a merge made, in three lines."""
    _facts(
        f"merged by {report.merge_method} into {report.out}",
        {
            "tensors": f"{report.tensors}, {report.copied} of them copied byte for byte",
            "parameters": f"{report.parameters:,}",
            "weights": f"{report.weight_bytes / 1e6:,.1f} MB in {', '.join(report.shards)}",
        },
    )


def adapter(report: AdapterReport) -> None:
    """What a merge into an adapter made, with the tensors that lost most."""
    worst = sorted(report.tensors, key=lambda tensor: -tensor.error)[:3]
    _facts(
        f"merged by {report.merge_method} into the adapter {report.out}",
        {
            "rank": report.rank,
            "changed layers": f"{len(report.tensors)}, and {len(report.whole)} modules saved whole",
            "error": f"{report.mean:.2%} of the merged difference on average, {report.worst:.2%} at worst",
            "most lost": ", ".join(f"{tensor.tensor} {tensor.error:.2%}" for tensor in worst)
            or "nothing",
            "weights": _size(report.weight_bytes),
        },
    )
    if report.whole:
        line(
            f"Saved whole: {', '.join(report.whole)}. PEFT loads them; vLLM takes low-rank changes alone."
        )


def estimate(costs: Estimate) -> None:
    """What a merge would cost."""
    _facts(
        f"{costs.method} would make {costs.parameters:,} parameters",
        {
            "tensors": f"{costs.tensors}, {costs.copied} of them copied byte for byte",
            "reads": f"{_size(costs.read_bytes)}, in {_passes(costs.passes)}",
            "writes": _size(costs.written_bytes),
            "memory": f"about {_size(costs.memory_bytes)}",
            "time": f"about {costs.seconds:,.0f} s on {costs.threads} threads, "
            "with the sources in the page cache; reading them from a disk comes on top",
        },
    )


def _passes(count: int) -> str:
    return "one pass" if count == 1 else f"{count} passes"


def _size(count: int) -> str:
    """A number of bytes in the unit that reads best."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"


def status(report: Mapping[str, Any]) -> None:
    """Champion, rollback target, then one line for each version and each refusal, and the last changes."""
    champion = report["champion"]
    _not_borne_out(report)
    _facts(
        report["name"],
        {
            "champion": _version(champion),
            "way back": _version(report["target"]),
            **_target(report["target_look"]),
        },
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("version", "kind", "candidate", "created (UTC)", "note"):
        table.add_column(column)
    for entry in report["history"]:
        note = f"rolled back: {entry['rolled_back']}" if entry["rolled_back"] else ""
        note = "champion" if entry == champion else note
        cells = (str(entry["version"]), entry["kind"] or "–", entry["candidate"] or "–")
        table.add_row(*cells, _moment(entry["created"]), escape(note))
    for entry in report["refusals"]:
        note = f"{entry['outcome']}, run {entry['run_id']}"
        table.add_row("–", "refusal", entry["candidate"], _moment(entry["created"]), note)
    terminal().print(table)
    _changes(report["changes"])
    _by_hand(report)


def champion_at(report: Mapping[str, Any]) -> None:
    """Which version was champion at a time, and the change that made it so."""
    change, version = report["change"], report["version"]
    gone = {"version": change["version"], "kind": "gone from the registry"}
    shown = version or {**gone, "release_digest": change["release_digest"]}
    _not_borne_out(report)
    _facts(
        report["name"],
        {
            "at": report["moment"],
            "champion": _version(shown),
            "since": f"{change['when']}, change {change['number']}: {change['kind']} by {change['who']}",
            "why": change["why"],
            "until": report["until"] or "now",
            **(
                {"verify": f"mergegate verify models:/{report['name']}/{change['version']}"}
                if version
                else {}
            ),
        },
    )
    _by_hand(report)


def _not_borne_out(report: Mapping[str, Any]) -> None:
    """On top of an answer: that the journal does not bear it out, where that is so."""
    faults = report["journal"]["faults"] if report["journal"] else []
    if not faults:
        return
    terminal().print("[bold red]The journal does not bear out what follows.[/]")
    for fault in faults:
        line(f"  {fault}")
    line(
        f"  What follows is the registry's word alone. `mergegate doctor {report['name']}` says more."
    )


def _by_hand(report: Mapping[str, Any]) -> None:
    """That the alias is not where the last change left it, where that is so."""
    if (alias := report["moved_by_hand"]) is None:
        return
    where = f"at version {alias}" if alias else "gone"
    line(
        f"note: the alias champion is {where}, which no recorded change made: somebody moved it in MLflow. "
        f"`mergegate doctor {report['name']}` says more."
    )


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
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("change", "when (UTC)", "champion", "kind", "by", "why"):
        table.add_column(column)
    for one in changes:
        before = "" if one["previous"] is None else f"{one['previous']} → "
        cells = (f"{before}{one['version']}", one["kind"], one["who"], one["why"])
        table.add_row(str(one["number"]), _short(one["when"]), *map(escape, cells))
    console = terminal()
    console.print()
    console.print(table)


def _short(when: str) -> str:
    """A time in ISO 8601 to the minute."""
    return when[:16].replace("T", " ")


def _version(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "none"
    return f"version {entry['version']}, {entry['kind']}, digest {entry['release_digest']}"


def ledger(report: Mapping[str, Any]) -> None:
    """A line for each golden set with what is left of it, then one for each judgement."""
    console = terminal()
    title = f"{report['name']}: {_counted(len(report['judgements']), 'judgement')}"
    lines = {
        f"{', '.join(found['skills'])} {found['digest'][:12]}": _uses(found, report["policy"])
        for found in report["golden_sets"]
    }
    _facts(title, lines)
    if not report["judgements"]:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("when (UTC)", "candidate", "outcome", "weights", "recipe", "policy", "golden"):
        table.add_column(column)
    for one in report["judgements"]:
        moment = one["when"][:16].replace("T", " ")
        digests = (one["weights"]["merged"], one["recipe"], one["policy"])
        sets = " ".join(f"{skill}:{d[:6]}" for skill, d in sorted(one["golden"].items()))
        cells = (one["candidate"], one["outcome"], *(d[:12] for d in digests), sets)
        table.add_row(moment, *map(escape, cells))
    console.print()
    console.print(table)


def _uses(found: Mapping[str, Any], policy: str | None) -> str:
    """What a golden set served, and what the policy leaves of it; nothing where the policy is not known."""
    served = f"{_counted(found['candidates'], 'candidate')} judged"
    if found["allowed"] is None:
        return f"{served}; the policy states no limit" if policy else served
    if found["candidates"] < found["allowed"]:
        return f"{served}, {found['left']} of {found['allowed']} uses left"
    over = found["candidates"] - found["allowed"]
    beyond = f", {over} more than the policy allows" if over else ""
    return f"{served}{beyond}: used up after {found['allowed']}; fresh examples are due"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def rolled_back(report: Mapping[str, Any]) -> None:
    """What a rollback or its rehearsal did."""
    what = "the unmerged set" if report["target_kind"] == "unmerged" else "this version"
    if report["moved"]:
        title = f"{report['name']}: version {report['target']} is champion again"
    elif report["champion"] == report["target"]:
        loads = "; it loads and answers" if report["answers"] else ""
        title = f"{report['name']}: the champion is {what} already{loads}"
    else:
        title = f"{report['name']}: the way back holds; the champion was left as it is"
    change = report.get("change")
    by = {"by": f"{change['who']}: {change['why']}"} if change and report["recorded"] else {}
    answers = {
        f"{answer['expert']} answers": answer["observed"] or "(nothing)"
        for answer in report["answers"]
    }
    _facts(
        title,
        {
            "champion before": f"version {report['champion']}",
            "target": f"version {report['target']}, digest {report['target_digest']}",
            **by,
            "checked": "; ".join(report["checked"]),
            **answers,
        },
    )
    if change and not report["recorded"]:
        line(_anothers(report["target"], change))


def _anothers(version: int, change: Mapping[str, Any]) -> str:
    """That a version was champion by an earlier change, so that nothing was recorded for this command."""
    made = (
        f"change {change['number']} had made version {version} champion already "
        f"(«by {change['who']}: {change['why']}», {change['when']})"
        if change["number"]
        else f"version {version} was champion before changes were recorded"
    )
    return f"  Nothing was recorded for this command, nor its reason: {made}."


def serving(report: Mapping[str, Any]) -> None:
    """The serving commands by themselves on standard output, ready for a shell; all else on standard error."""
    for command in report["shell"]:
        sys.stdout.write(command + "\n")
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    told.print(
        f"# {report['kind']}, version {report['version']}, digest {report['digest']}; "
        f"{escape('; '.join(report['checked']))}"
    )
    for note in report["notes"]:
        told.print(f"# {escape(note)}")


def answered(report: Mapping[str, Any]) -> None:
    """One prompt, its answer, and the digests of what gave it."""
    _facts(
        f"{report['name']} version {report['version']}, {report['kind']}",
        {
            "prompt": report["prompt"],
            **({"expert": report["expert"]} if report["expert"] else {}),
            "answer": report["answer"] or "(nothing)",
            **{f"digest of {what}": digest for what, digest in report["digests"].items()},
        },
    )


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _facts(title: str, pairs: Mapping[str, Any]) -> None:
    """A title and aligned key-value lines."""
    console = terminal()
    console.print(f"[bold]{escape(title)}[/]")
    width = max(map(len, pairs), default=0)
    for key, value in pairs.items():
        console.print(f"  {key:<{width}}  {escape(str(value))}")


def score_table(scores: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A row for each «skill/metric» and a column for each variant; a dash where there is no score."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("mean score")
    for variant in scores:
        table.add_column(variant, justify="right")
    for name in dict.fromkeys(name for row in scores.values() for name in row):
        table.add_row(name, *(shown(row.get(name)) for row in scores.values()))
    return table


def shown(mean: float | None) -> str:
    """A mean score with three decimals."""
    return "–" if mean is None else f"{mean:.3f}"


def findings_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [asdict(finding) for finding in found]


def terminal() -> Console:
    # Piped output keeps a message and a row of a table on one line; a terminal wraps them.
    piped = not sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=piped, width=_PIPED if piped else None)
