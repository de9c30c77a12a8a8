"""The gate by itself: two files of scores in, the verdict out, on the screen and as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from flows import say
from gates import Row, Verdict, judge
from pipeline.errors import InputError
from pipeline.facts import write_json, write_text
from pipeline.folders import check_file

_MARKS = {"promote": "✓", "reject": "✗", "inconclusive": "?", "cannot judge": "!"}
_COLOURS = {"promote": "green", "reject": "red", "inconclusive": "yellow", "cannot judge": "yellow"}
_COLUMNS = ("check", "samples", "reference", "candidate", "difference", "at worst", "allowed", "")


def gate(
    policy: Path,
    reference: Path,
    candidate: Path,
    *,
    skills: Sequence[str] = (),
    also: Sequence[str] = (),
    without_latency: bool = False,
    out: Path | None = None,
    markdown: Path | None = None,
) -> Verdict:
    """The verdict on two files of scores, written to `out` as JSON and to `markdown` where named.

    `skills` are NAME, for rows that name no skill, or TASK=NAME; `also` are NAME=PATH. Raises
    InputError.
    """
    references = dict(_pair(text, "--also NAME=PATH") for text in also)
    if len(references) < len(also):
        raise InputError("--also names a reference twice. Give each one file.")
    inputs = [policy, reference, candidate, *map(Path, references.values())]
    for path in filter(None, (out, markdown)):
        check_file(path)
        if any(path.resolve() == given.resolve() for given in inputs):
            raise InputError(f"{path}: is to be written, and is read too. Choose another name.")
    named = [text for text in skills if "=" not in text]
    if len(named) > 1:
        raise InputError(
            f"--skill is given as {' and as '.join(named)}; rows without a skill can have only one. "
            "Use --skill TASK=NAME for several."
        )
    verdict = judge(
        policy,
        reference,
        candidate,
        skill=named[0] if named else "",
        tasks=dict(_pair(text, "--skill TASK=NAME") for text in skills if "=" in text),
        also=references,
        without_latency=without_latency,
    )
    if out:
        write_json(out, verdict.to_json())
    if markdown:
        write_text(markdown, to_markdown(verdict, candidate.name))
    return verdict


def show(verdict: Verdict, name: str) -> None:
    """The verdict in a sentence, its reasons, what got better, notes, and the figures."""
    console = say.terminal()  # as wide as the terminal, unbounded where piped
    console.print(
        f"[bold {_COLOURS[verdict.outcome]}]{say.escape(name)}[/]  {say.escape(verdict.sentence)}"
    )
    for reason in verdict.reasons:
        mark = f"[{_COLOURS[reason.outcome]}]{_MARKS[reason.outcome]}[/]"
        waived = f" ({reason.waiver})" if reason.waiver else ""
        console.print(f"  {mark} {say.escape(reason.text + waived)}")
    for line in _asides(verdict):
        console.print(f"  [dim]·[/] {say.escape(line)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(_COLUMNS):
        figures = 0 < number < len(_COLUMNS) - 1
        table.add_column(column, justify="right" if figures else "left", overflow="fold")
    for row in verdict.rows:
        table.add_row(*map(say.escape, _cells(row)))
    console.print()
    console.print(table)


def to_markdown(verdict: Verdict, name: str) -> str:
    """The same as GitHub renders it, for a pull request."""
    lines = [f"## {_plain(name)}: {verdict.outcome}", "", _plain(verdict.sentence), ""]
    lines += [
        f"- {_MARKS[reason.outcome]} {_plain(reason.text)}"
        + (f" ({_plain(reason.waiver)})" if reason.waiver else "")
        for reason in verdict.reasons
    ]
    lines += [f"- {_plain(line)}" for line in _asides(verdict)]
    lines += ["", f"| {' | '.join(_COLUMNS)} |", "|---" + "|---:" * 6 + "|---|"]
    lines += [f"| {' | '.join(map(_plain, _cells(row)))} |" for row in verdict.rows]
    return "\n".join(lines) + "\n"


def _asides(verdict: Verdict) -> list[str]:
    return [*(one.text for one in verdict.improvements), *verdict.notes]


def _cells(row: Row) -> tuple[str, ...]:
    figures = (row.reference_mean, row.candidate_mean)
    return (
        row.check,
        f"{row.n:,}" if row.n else "–",
        *("–" if value is None else f"{value:.4f}" for value in figures),
        "–" if row.difference is None else f"{row.difference:+.4f}",
        "–" if row.lower is None else f"{row.lower:+.4f}",
        f"{-row.margin:+.4f}" if row.margin else "0",
        row.outcome,
    )


def _plain(text: str) -> str:
    """Text of a file without what Markdown or HTML would make of it."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return re.sub(r"([\\`*_{}\[\]<>|#&@])", r"\\\1", shown)


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"{form.split()[0]} {text}: it must be {form.split()[1]}.")
    return name, value
