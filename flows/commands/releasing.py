"""Commands that release: release, judge, verdict, schedule."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import environment, say
from flows.app import RELEASE, Json, app

if TYPE_CHECKING:
    from flows.record import Outcome


Wait = Annotated[
    bool, typer.Option("--wait", help="Wait while another release or judge works in this folder.")
]


def _quiet(wanted: bool) -> bool:
    if wanted:
        environment.prepare(quiet=True)
    return wanted


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bars or lines.", callback=_quiet)
]


@app.command(rich_help_panel=RELEASE, epilog="Example: mergegate release tuned")
def release(
    candidate: Annotated[
        str,
        typer.Argument(help="A candidate of params.yaml; by default the one that `release` names."),
    ] = "",
    wait: Wait = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Check, merge, evaluate, judge, quantize, judge again, and register what is promoted.

    Runs in a folder with params.yaml and dvc.yaml. Stages whose inputs have not changed are not run again, so a release
    that was interrupted goes on where it was. Without a terminal, standard error has a line for each stage.

    One release or judge at a time: a second one in the same folder ends with exit code 6 and says who works there,
    or waits with --wait.

    Exit code 0 means promoted, or nothing changed; 3 rejected, 4 inconclusive, 5 cannot judge, 7 held back: the
    gate promotes it, but its version was rolled back and stays down.
    """
    from flows.preflight import preflight
    from flows.workspace_lock import hold

    _, candidate = preflight(candidate)
    with hold("release", candidate, wait=wait):
        outcome = _outcome(candidate, register=True)
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
    wait: Wait = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run every stage of a release, but register nothing: for pull requests and for trying a recipe.

    The ledger counts it: a golden set is used by whoever is judged on it, see `mergegate ledger`.
    The exit code is that of the worst verdict. One release or judge at a time works in a folder, see `release`.
    """
    from flows.judge import chosen, to_markdown
    from flows.preflight import preflight
    from flows.workspace_lock import hold
    from pipeline.facts import write_text

    names = chosen(candidates or [], since)
    for name, why in names.items():
        preflight(name)
        if since is not None:
            say.note(f"{name} is judged: {why}.")
    with hold("judge", " ".join(names), wait=wait) if names else nullcontext():
        outcomes = [_outcome(name, register=False) for name in names]
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


def _outcome(candidate: str, *, register: bool) -> Outcome:
    """How the release ends; without Prefect where it has nothing to run and no server to show it.

    The registry is asked first: what it refuses is known before Prefect has started.
    """
    from flows.record import check_registry
    from pipeline.params import load_params

    check_registry(load_params(), register=register)
    if not os.environ.get("PREFECT_API_URL"):
        from flows.unchanged import settled

        if (outcome := settled(load_params(), candidate, register=register)) is not None:
            return outcome
    from flows.release import release as flow  # starts Prefect, so only for what must run

    return flow(candidate, register=register)


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
    cron: Annotated[
        str,
        typer.Option(
            help="When to release: minute hour day month weekday, in the zone TZ, or UTC."
        ),
    ],
    candidate: Annotated[
        str,
        typer.Argument(help="A candidate of params.yaml; by default the one that `release` names."),
    ] = "",
) -> None:
    """Release this folder's candidate at the times of --cron, until stopped (Ctrl-C, SIGTERM).

    Schedules are kept by a Prefect server: start one with `prefect server start` and name it in PREFECT_API_URL. The
    command serves the deployment release/NAME, NAME being the model of params.yaml; `prefect deployment run
    release/NAME` starts a run by hand.

    It prints a line with the time when the next run is, when a run begins and who started it, and how it ends:
    promoted, rejected, inconclusive, cannot judge, held back, nothing changed, skipped, failed or crashed. The run's
    state in Prefect says the same. What the stages do is in .mergegate/logs/scheduled.log.

    A run that meets another release in the folder is skipped. A run that died is set to crashed, by this command or
    by the next one, and the next run goes on where it was. Times at which nobody served are not made up for.

    Exit code 0 after it was stopped, 2 bad --cron or parameters, 6 no server, or the folder is served already.
    """
    from flows.schedule.serve import serve

    serve(cron, candidate)
