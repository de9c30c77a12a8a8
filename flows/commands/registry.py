"""Commands on the registry: status, ledger, rollback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import say
from flows.app import REGISTRY, Json, Name, Uri, app

if TYPE_CHECKING:
    from gates import Policy


@app.command(rich_help_panel=REGISTRY, epilog="Example: mergegate status harbor-support")
def status(name: Name = "", uri: Uri = "", json: Json = False) -> None:
    """Show a registered model: its champion, the rollback target, and the history of versions."""
    from flows.record import read_status

    report = read_status(*_registry(uri, name))
    say.as_json(report) if json else say.status(report)


@app.command(rich_help_panel=REGISTRY, epilog="Example: mergegate ledger harbor-support --json")
def ledger(name: Name = "", uri: Uri = "", json: Json = False) -> None:
    """Show who was judged on which golden set, when and with what outcome, and how many uses are left.

    The more merges are tried on one set, the likelier one passes by luck. How many a set may serve is said in the
    policy, under `sealed`; docs/ledger.md says how to refresh one.
    """
    from flows.ledger import read_ledger_report

    uri, name = _registry(uri, name)
    report = read_ledger_report(uri, name, _policy_of(name))
    say.as_json(report) if json else say.ledger(report)


@app.command(
    rich_help_panel=REGISTRY,
    epilog='Example: mergegate rollback harbor-support --why "tone complaints since Monday"',
)
def rollback(
    name: Name = "",
    why: Annotated[str, typer.Option(help="The reason, kept in the registry.")] = "",
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Load and probe the target, but leave the champion.")
    ] = False,
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Move the champion to its rollback target, after loading the target and checking its digest.

    The target of a merge is the unmerged set: the base and the adapters, as they were released with it.
    """
    from flows.record import roll_back

    report = roll_back(*_registry(uri, name), why=why, rehearse=rehearse)
    say.as_json(report) if json else say.rolled_back(report)


def _registry(uri: str, name: str) -> tuple[str, str]:
    """The registry's URI and the model's name, from params.yaml where the command line is silent."""
    if uri and name:
        return uri, name
    from pipeline.params import load_params

    params = load_params()
    return uri or params.registry_uri, name or params.name


def _policy_of(name: str) -> Policy | None:
    """The policy of the current folder, where its params.yaml is that of the model `name`."""
    from gates import Policy
    from pipeline.params import load_params

    if not Path("params.yaml").is_file():
        return None
    params = load_params()
    return Policy.parse(params.policy, "params.yaml: policy") if params.name == name else None
