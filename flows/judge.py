"""Judging without registering: which candidates a change touches, and the verdicts as Markdown."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from flows.record import Outcome
from flows.say import shown
from pipeline.errors import InputError
from pipeline.params import Params, load_params


def chosen(names: Sequence[str], since: str) -> list[str]:
    """The candidates to judge: those named, else those changed `since` a revision, else the release of params.yaml."""
    params = load_params()
    for name in names:
        params.recipe(name)
    if names:
        return list(names)
    return _changed(params, since) if since else [params.release]


def to_markdown(outcomes: Sequence[Outcome]) -> str:
    """The verdicts, their reasons and the tables, as GitHub renders them."""
    if not outcomes:
        return "No candidate's recipe changed, so there is nothing to judge.\n"
    return "\n".join(_section(outcome) for outcome in outcomes)


def _section(outcome: Outcome) -> str:
    names = list(dict.fromkeys(name for row in outcome.scores.values() for name in row))
    lines = [f"## {outcome.candidate}: {outcome.outcome}", ""]
    lines += [f"- {reason['artifact']}: {reason['text']}" for reason in outcome.reasons]
    lines += ["", "| variant | " + " | ".join(names) + " |", "|---" + "|---:" * len(names) + "|"]
    lines += [
        f"| {variant} | " + " | ".join(shown(row.get(name)) for name in names) + " |"
        for variant, row in outcome.scores.items()
    ]
    return "\n".join(lines) + "\n"


def _changed(params: Params, since: str) -> list[str]:
    """Candidates whose recipe file differs; all of them where params.yaml itself does."""
    done = subprocess.run(
        ["git", "diff", "--name-only", "--relative", since, "--"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"--since {since}: git says: {done.stderr.strip()}")
    files = {Path(line) for line in done.stdout.splitlines()}
    if Path("params.yaml") in files:
        return list(params.candidates)
    return [name for name, recipe in params.candidates.items() if recipe in files]
