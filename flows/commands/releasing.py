"""Commands that release: release, judge, verdict, schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import say
from flows.app import RELEASE, Json, app


@app.command(rich_help_panel=RELEASE, epilog="Example: mergegate release tuned")
def release(
    candidate: Annotated[
        str,
        typer.Argument(help="A candidate of params.yaml; by default the one that `release` names."),
    ] = "",
    json: Json = False,
) -> None:
    """Check, merge, evaluate, judge, quantize, judge again, and register what is promoted.

    Runs in a folder with params.yaml and dvc.yaml. Stages whose inputs have not changed are not run again, so a release
    that was interrupted goes on where it was. Exit code 0 means promoted, 3 rejected, 4 inconclusive, 5 cannot judge.
    """
    from flows.preflight import preflight

    preflight(candidate)
    from flows.release import release as flow  # starts Prefect, so only for what can run

    outcome = flow(candidate)
    say.as_json(outcome.to_json()) if json else say.outcome(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command(
    rich_help_panel=RELEASE,
    epilog="Example: mergegate judge --since origin/main --markdown verdict.md",
)
def judge(
    candidates: Annotated[
        list[str] | None, typer.Argument(help="Candidates of params.yaml.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="Without CANDIDATES: those that the change since this git revision touches: new ones, those whose "
            "recipe differs, and all where base, experts, tasks, golden sets, policy or the like differ.",
        ),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the verdicts as Markdown here.")
    ] = None,
    json: Json = False,
) -> None:
    """Run every stage of a release, but register nothing: for pull requests and for trying a recipe.

    The exit code is that of the worst verdict.
    """
    from flows.judge import chosen, to_markdown
    from flows.preflight import preflight
    from pipeline.facts import write_text

    names = chosen(candidates or [], since)
    for name, why in names.items():
        preflight(name)
        if since is not None:
            say.note(f"{name} is judged: {why}.")
    from flows.release import release as flow

    outcomes = [flow(name, register=False) for name in names]
    if markdown:
        write_text(markdown, to_markdown(outcomes))
    if json:
        say.as_json([outcome.to_json() for outcome in outcomes])
    else:
        for outcome in outcomes:
            say.outcome(outcome)
        if not outcomes:
            say.line(
                f"The change since {since} touches no candidate, so there is nothing to judge."
            )
    raise typer.Exit(max((outcome.exit_code for outcome in outcomes), default=0))


@app.command(rich_help_panel=RELEASE, epilog="Example: mergegate verdict naive")
def verdict(
    candidate: Annotated[str, typer.Argument(help="A candidate of params.yaml.")] = "",
    json: Json = False,
) -> None:
    """Show the verdict of the last release of a candidate, with its reasons and the table of variants."""
    from flows.record import read_last_outcome
    from pipeline.params import load_params

    params = load_params()
    outcome = read_last_outcome(params, candidate or params.release)
    say.as_json(outcome.to_json()) if json else say.outcome(outcome)


@app.command(rich_help_panel=RELEASE, epilog='Example: mergegate schedule --cron "0 3 * * 1"')
def schedule(
    cron: Annotated[str, typer.Option(help="When to release: minute hour day month weekday.")],
    candidate: Annotated[str, typer.Argument(help="A candidate of params.yaml.")] = "",
) -> None:
    """Serve the release of this folder as a Prefect deployment that runs at the times of --cron, until stopped.

    Schedules are kept by a Prefect server: start one with `prefect server start` and name it in PREFECT_API_URL.
    """
    from flows.schedule import serve

    serve(cron, candidate)
