"""Commands that look at a release afterwards: verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import say
from flows.app import AUDIT, Json, Uri, app, given, registry_of_workspace


@app.command(
    rich_help_panel=AUDIT,
    epilog="Examples: mergegate verify build/tuned/release --key harbor.pub · "
    "mergegate verify models:/harbor-support@champion",
)
def verify(
    release: Annotated[
        str,
        typer.Argument(
            help="A release folder, a candidate whose release is in build/, or a version of the registry: "
            "models:/NAME/VERSION or models:/NAME@champion."
        ),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="PUB.pem",
            help="The public key that must have signed it; by default those of .mergegate/signing.",
            callback=given,
        ),
    ] = None,
    unsigned: Annotated[
        bool,
        typer.Option(
            "--unsigned",
            help="Accept a release from before there were signatures, whatever is trusted.",
        ),
    ] = False,
    uri: Uri = "",
    json: Json = False,
) -> None:
    """Check a release: signature, every digest, provenance, and the verdict computed again from what is stored.

    A folder is checked offline, without a model, in seconds. Of a version in the registry, the weights and the tags as
    well, and that its way back is there. Exit code 0 where all agrees; 2 where anything differs, with file and field; 6
    where the registry cannot be reached.
    """
    from flows import verify as verification

    if release.startswith("models:"):
        found = verification.verify_version(
            uri or registry_of_workspace(), release, key=key, unsigned=unsigned
        )
    else:
        folder = verification.find_release(release)
        found = verification.verify(folder, key=key, unsigned=unsigned)
    say.as_json(found.to_json()) if json else verification.show(found)
    raise typer.Exit(found.exit_code)
