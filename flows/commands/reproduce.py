"""The command that makes a release again from its record: reproduce."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from flows import say
from flows.app import AUDIT, Json, Uri, app


@app.command(rich_help_panel=AUDIT, epilog="Example: mergegate reproduce build/tuned/release")
def reproduce(
    release: Annotated[
        str,
        typer.Argument(
            help="A release folder, a candidate whose release is in build/, or models:/NAME/VERSION (or @ALIAS)."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Rebuild in this folder and leave the artifacts there.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the artifacts in .mergegate/reproduced/.")
    ] = False,
    sources: Annotated[
        Path, typer.Option(help="The folder that local references are relative to.")
    ] = Path(),
    threads: Annotated[
        int | None,
        typer.Option(help="Tensors merged at the same time; changes no byte.", min=1),
    ] = None,
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Rebuild a release's merge and quantized artifact from its record, and compare every byte.

    Every source is opened at its pinned revision and read whole; one that is not what was released is refused.
    Exit code 0: identical; 2: sources or record are not what was released, or the result differs where versions and
    hardware are the record's; 4: it differs elsewhere, or a part could not be rebuilt.
    """
    from flows import reproduce as again
    from pipeline.sources.reference import is_registry_uri

    registry = uri or _registry()
    found = again.reproduce(
        again.locate(release, registry),
        out=out,
        keep=keep,
        threads=threads,
        sources=sources,
        uri=registry,
    )
    if is_registry_uri(release):  # rather than where its files were put
        found = replace(found, release=release)
    say.as_json(found.to_json()) if json else again.show(found)
    raise typer.Exit(found.exit_code)


def _registry() -> str | None:
    """The registry of params.yaml where there is one; else as MLflow is configured."""
    from pipeline.params import load_params

    return load_params().registry_uri if Path("params.yaml").is_file() else None
