"""Commands that look at a release afterwards: verify."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import say
from flows.app import AUDIT, Json, app


@app.command(rich_help_panel=AUDIT, epilog="Example: mergegate verify build/tuned/release")
def verify(
    release: Annotated[
        str, typer.Argument(help="A release folder, or a candidate whose release is in build/.")
    ],
    json: Json = False,
) -> None:
    """Check a release against itself: every digest, and the verdict computed again from what it stores.

    Offline, without a model, in seconds. Exit code 0 where all agrees; 2 where anything differs, with file and field.
    """
    from flows import verify as verification

    found = verification.verify(verification.find_release(release))
    say.as_json(found.to_json()) if json else verification.show(found)
    raise typer.Exit(found.exit_code)
