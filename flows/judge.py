"""Judging without registering: which candidates a change touches, and the verdicts as Markdown."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from flows.record import Outcome
from flows.say import shown
from pipeline.errors import InputError
from pipeline.params import Params, load_params


def chosen(names: Sequence[str], since: str | None) -> list[str]:
    """The candidates to judge: those named, else those changed `since` a revision, else the release of params.yaml."""
    params = load_params()
    for name in names:
        params.recipe(name)
    if names:
        return list(names)
    return [params.release] if since is None else _changed(params, since)


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
    # Resolved first: git would take a revision that begins with a dash for an option.
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{since}^{{commit}}")
    if commit is None:
        raise InputError(
            f"--since {since}: not a revision of this repository. "
            "Use for example origin/main or a commit, and fetch it first."
        )
    names = _git("diff", "--name-only", "--relative", commit.strip(), "--") or ""
    files = {Path(line) for line in names.splitlines()}
    if Path("params.yaml") in files:
        return list(params.candidates)
    return [name for name, recipe in params.candidates.items() if recipe in files]


def _git(*arguments: str) -> str | None:
    """What a git command prints; None where it fails."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout
