"""What a rollback did, and how a version is served."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from flows.say.console import escape, facts, line


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
    facts(
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
    if report.get("entered"):
        numbers = ", ".join(str(number) for number in report["entered"])
        these, them = ("changes", "them") if len(report["entered"]) > 1 else ("change", "it")
        line(
            f"  The journal lacked {these} {numbers}, and has {them} now as the registry says: made elsewhere, or "
            "lines were removed."
        )


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
    _warned(report)
    told.print(
        f"# {report['kind']}, version {report['version']}, digest {report['digest']}; "
        f"{escape('; '.join(report['checked']))}"
    )
    for note in report["notes"]:
        told.print(f"# {escape(note)}")


def _warned(report: Mapping[str, Any]) -> None:
    """The warnings of a report, on standard error."""
    for warning in report["warnings"]:
        told = Console(stderr=True, highlight=False, soft_wrap=True)
        told.print(f"[bold red]# warning:[/] {escape(warning)}")


def answered(report: Mapping[str, Any]) -> None:
    """One prompt, its answer, and the digests of what gave it."""
    _warned(report)
    facts(
        f"{report['name']} version {report['version']}, {report['kind']}",
        {
            "prompt": report["prompt"],
            **({"expert": report["expert"]} if report["expert"] else {}),
            "answer": report["answer"] or "(nothing)",
            **{f"digest of {what}": digest for what, digest in report["digests"].items()},
        },
    )
