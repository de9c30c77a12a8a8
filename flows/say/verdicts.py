"""A release and what was judged in it: outcome, reasons, scores, findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table

from flows.say.console import escape, facts, moment, table, terminal

if TYPE_CHECKING:
    from flows.record import Outcome
    from pipeline.facts import Finding

_STATUS = {"pass": "green", "fail": "red", "cannot_judge": "yellow", "waived": "yellow"}
_MARKS = {"promote": "✓", "reject": "✗", "inconclusive": "?", "cannot judge": "!"}
_OUTCOME = {"promote": "green", "reject": "red", "inconclusive": "yellow", "cannot judge": "yellow"}


def outcome(ended: Outcome) -> None:
    """The verdict in a sentence, its reasons by artifact, the table of variants, and where it was recorded."""
    console, colour = terminal(), "yellow" if ended.held_back else _OUTCOME[ended.outcome]
    first = news(ended)
    console.print(f"[bold {colour}]{ended.candidate}[/]  {escape(first or ended.sentence)}")
    if first:
        console.print(f"  the verdict: {escape(ended.sentence)}")
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
        facts("registered in MLflow", registered)


def news(ended: Outcome) -> str:
    """What stands above the verdict: that the merge is held back, or that nothing changed; "" for neither."""
    model, version = ended.registered.get("model"), ended.registered.get("version")
    if ended.held_back:
        return (
            f"Held back: version {version} of {model} stays down, for {ended.held_back}. "
            f"`mergegate rollback {model} --to {version}` lets it serve."
        )
    if ended.unchanged:
        since = moment(ended.registered["champion_since"])
        return f"Nothing changed since {since}: version {version} of {model} is champion."
    return ""


def score_table(scores: Mapping[str, Mapping[str, float | None]]) -> Table:
    """A row for each «skill/metric» and a column for each variant; a dash where there is no score."""
    rows = table("mean score")
    for variant in scores:
        rows.add_column(variant, justify="right")
    for name in dict.fromkeys(name for row in scores.values() for name in row):
        rows.add_row(name, *(shown(row.get(name)) for row in scores.values()))
    return rows


def shown(mean: float | None) -> str:
    """A mean score with three decimals."""
    return "–" if mean is None else f"{mean:.3f}"


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


def findings_json(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [asdict(finding) for finding in found]
