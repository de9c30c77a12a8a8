"""The command `mergegate doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import say
from flows.app import REGISTRY, Json, Name, Uri, app
from pipeline.errors import InputError

if TYPE_CHECKING:
    from flows.doctor import Patient


@app.command(rich_help_panel=REGISTRY, epilog="Example: mergegate doctor harbor-support --mend")
def doctor(
    name: Name = "",
    mend: Annotated[bool, typer.Option("--mend", help="Mend what is safe to mend.")] = False,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="With --mend: record a champion that was moved by hand."),
    ] = False,
    restore: Annotated[
        bool,
        typer.Option("--restore", help="With --mend: undo a move of the champion by hand."),
    ] = False,
    why: Annotated[str, typer.Option(help="With --adopt: the reason, kept in the record.")] = "",
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Do not read the bytes of artifacts and caches, and of sources only those of files that look changed.",
        ),
    ] = False,
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Compare journal, registry, artifacts and disk: what was interrupted, deleted, altered or moved by hand.

    Run it while no release runs. Exit code 0: healthy, or all of it mended; 2: a person must decide; 6: the registry
    cannot be reached.
    """
    from flows.doctor import look
    from flows.doctor import mend as mended

    if adopt and restore:
        raise InputError("--adopt and --restore: name one of them.")
    if (adopt or restore) and not mend:
        raise InputError("--adopt and --restore change the registry: add --mend.")
    patient = _patient(uri, name, quick)
    by_hand = "adopt" if adopt else "restore" if restore else ""
    report = mended(patient, by_hand=by_hand, why=why) if mend else look(patient)
    if json:
        say.as_json(report.to_json())
    else:
        for ailment in report.mended:
            say.line(f"mended  {ailment.code}  {ailment.message}")
        for ailment, reason in report.left:
            say.line(f"{ailment.code}  {ailment.message} {reason}".rstrip())
        if not report.left:
            seen = "." if report.journal else ", as far as the registry shows."
            say.line(f"{report.name}: healthy{seen}")
        for note in report.notes:
            say.line(f"note: {note}")
    raise typer.Exit(report.exit_code)


def _patient(uri: str, name: str, quick: bool) -> Patient:
    """What to examine, from params.yaml where the command line is silent; of another workspace, the registry alone."""
    from flows.doctor import Patient
    from flows.workspace_journal import journal_of
    from pipeline.params import load_params

    if not (uri and name):
        params = load_params()
        uri, name = uri or params.registry_uri, name or params.name
    kept = journal_of(uri, name)
    return Patient(uri, name, kept.path, Path() if kept.ours else None, quick, kept.why_none)
