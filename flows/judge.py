"""Judging without registering: which candidates a change touches, and the verdicts as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from flows.changed import changed_since
from flows.record import Outcome
from flows.say import shown
from pipeline.params import load_params


def chosen(names: Sequence[str], since: str | None) -> dict[str, str]:
    """The candidates to judge, each with why: those named, else those that a change `since` a revision touches.

    Without either, the one that `release` of params.yaml names. Raises InputError for a name or revision that there
    is not.
    """
    params = load_params()
    for name in names:
        params.recipe(name)
    if names:
        return dict.fromkeys(names, "it is named")
    return (
        changed_since(params, since) if since is not None else {params.release: "it is the release"}
    )


def to_markdown(outcomes: Sequence[Outcome]) -> str:
    """The verdicts, their reasons and the tables, as GitHub renders them."""
    if not outcomes:
        return "The change touches no candidate, so there is nothing to judge.\n"
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
