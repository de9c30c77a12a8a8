"""Commands on the registry: status, ledger, rollback, serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import say
from flows.app import REGISTRY, Json, Name, Uri, app, registry_of_workspace
from pipeline.errors import InputError

if TYPE_CHECKING:
    from gates import Policy


@app.command(
    rich_help_panel=REGISTRY,
    epilog="Example: mergegate status harbor-support --at 2026-05-14T10:00",
)
def status(
    name: Name = "",
    at: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Say which version was champion then: 2026-05-14T10:00 (UTC), 2026-05-14T10:00+02:00.",
        ),
    ] = "now",
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Show a registered model: its champion, the rollback target, and the history of versions.

    Where the journal was altered, lacks changes, or contradicts the registry, that stands on top; and with --at the
    exit code is 2, since nobody should rely on such an answer. An alias that was moved by hand stands there too.
    """
    from flows.record import read_champion_at, read_status

    uri, name = registry_and_name(uri, name)
    if at != "now":
        found = read_champion_at(uri, name, at)
        say.as_json(found) if json else say.champion_at(found)
        if found["journal"]["faults"]:
            raise typer.Exit(2)
        return
    report = read_status(uri, name)
    say.as_json(report) if json else say.status(report)


@app.command(rich_help_panel=REGISTRY, epilog="Example: mergegate ledger harbor-support --json")
def ledger(name: Name = "", uri: Uri = "", json: Json = False) -> None:
    """Show who was judged on which golden set, when and with what outcome, and how many uses are left.

    The more merges are tried on one set, the likelier one passes by luck. How many a set may serve is said in the
    policy, under `sealed`; docs/ledger.md says how to refresh one.
    """
    from flows.ledger import read_ledger_report

    uri, name = registry_and_name(uri, name)
    report = read_ledger_report(uri, name, _policy_of(name))
    say.as_json(report) if json else say.ledger(report)


@app.command(
    rich_help_panel=REGISTRY,
    epilog='Example: mergegate rollback harbor-support --to previous --why "tone complaints since Monday"',
)
def rollback(
    name: Name = "",
    to: Annotated[
        str,
        typer.Option(
            metavar="unmerged|previous|VERSION",
            help="The unmerged set of the champion; the champion before it; or any version.",
        ),
    ] = "unmerged",
    why: Annotated[
        str, typer.Option(help="The reason, kept in the registry and the journal.")
    ] = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Read and probe the target, but leave the champion.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Read and probe the target wholly, then move.")
    ] = False,
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Move the champion back, in seconds: to a target that was rehearsed and is as it was then.

    The target of a merge is the unmerged set: the base and the adapters, as they were released with it. A target
    that was never rehearsed is read wholly first. Who, when and why are recorded. Twice is as once.
    """
    from flows.record import roll_back
    from pipeline.release.rollback import NO_REASON

    uri, name = registry_and_name(uri, name)
    report = roll_back(
        uri, name, why=why, rehearse=rehearse, to=to, thorough=thorough, journal=_journal(name)
    )
    say.as_json(report) if json else say.rolled_back(report)
    if report["recorded"] and report["change"]["why"] == NO_REASON and not json:
        say.line("  No reason was given; whoever asks later finds none. Use --why TEXT.")


@app.command(
    rich_help_panel=REGISTRY,
    epilog='Example: mergegate serve harbor-support --local --prompt "Hello"',
)
def serve(
    name: Name = "",
    version: Annotated[
        int | None, typer.Option(min=1, help="A version; by default the champion.")
    ] = None,
    unmerged: Annotated[
        bool, typer.Option("--unmerged", help="The rollback target of the champion or VERSION.")
    ] = False,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to serve on.")] = 8000,
    download: Annotated[
        Path | None,
        typer.Option(help="Fetch the version into this folder and serve it from there."),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Answer one prompt here, through transformers.")
    ] = False,
    prompt: Annotated[str, typer.Option(help="With --local: the prompt.")] = "",
    expert: Annotated[
        str, typer.Option(help="With --local, for an unmerged set: who answers.")
    ] = "",
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Print the command that serves a version with vLLM, or answer one prompt with it.

    A version that is not whole is refused. The unmerged set is served as the base with one LoRA module for each
    adapter.
    """
    from flows.serve import answer_here, serving_commands

    uri, name = registry_and_name(uri, name)
    if local:
        answer = answer_here(uri, name, version, unmerged=unmerged, prompt=prompt, expert=expert)
        say.as_json(answer) if json else say.answered(answer)
        return
    if prompt or expert:
        raise InputError("--prompt and --expert are for --local: a serving command asks nothing.")
    report = serving_commands(uri, name, version, unmerged=unmerged, port=port, download=download)
    say.as_json(report) if json else say.serving(report)


def _journal(name: str) -> Path | None:
    """The journal of the current folder's workspace; None outside one: then `mergegate doctor` adds the change."""
    from pipeline.params import load_params

    if not Path("params.yaml").is_file():
        return None
    return load_params().registry_journal / f"{name}.jsonl"


def registry_and_name(uri: str, name: str) -> tuple[str, str]:
    """The registry's URI and the model's name, from params.yaml where the command line is silent."""
    if uri and name:
        return uri, name
    registry = uri or registry_of_workspace()
    if name:
        return registry, name
    from pipeline.params import load_params

    return registry, load_params().name


def _policy_of(name: str) -> Policy | None:
    """The policy of the current folder, where its params.yaml is that of the model `name`."""
    from gates import Policy
    from pipeline.params import load_params

    if not Path("params.yaml").is_file():
        return None
    params = load_params()
    return Policy.parse(params.policy, "params.yaml: policy") if params.name == name else None
