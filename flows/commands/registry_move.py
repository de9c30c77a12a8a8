"""Commands on a registry as a whole: `mergegate registry move`."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import say
from flows.app import REGISTRY, Json, Name, app, given
from flows.commands.registry import registry_and_name

registry = typer.Typer(
    help="Move a registered model, with all its history, to another registry.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(registry, name="registry", rich_help_panel=REGISTRY)


@registry.callback()
def _registry() -> None:
    """Move a registered model, with all its history, to another registry."""


@registry.command(
    epilog="Example: mergegate registry move --to http://mlflow.example:5000 --edit · "
    "mergegate registry move --to env:MLFLOW_TRACKING_URI"
)
def move(
    to: Annotated[
        str,
        typer.Option(
            metavar="URI",
            help="The new registry: an MLflow tracking URI, or env:VARIABLE as in params.yaml.",
            callback=given,
        ),
    ],
    name: Name = "",
    edit: Annotated[
        bool,
        typer.Option("--edit", help="Then set registry.uri of params.yaml to it, in place."),
    ] = False,
    uri: Annotated[
        str,
        typer.Option(
            help="The registry to move from; by default the one of params.yaml.", callback=given
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Copy versions with their numbers, artifacts, changes of the champion, ledger and refusals, and verify the copy.

    The old registry is only read; in the end it is marked, so that no release goes to it any more. The champion in the
    new one is set last. What was interrupted goes on when it is run again. Whatever else is there under the model's
    name is refused with exit code 2 before anything is written. docs/registry.md has more.
    """
    from flows.registry_move import move_registry

    uri, name = registry_and_name(uri, name)
    report = move_registry(uri, name, to=to, edit=edit)
    say.as_json(report) if json else say.moved(report)
