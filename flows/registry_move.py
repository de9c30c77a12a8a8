"""`mergegate registry move`: the model of a workspace moved to another registry, and params.yaml with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.registry_line import check_writable_uri, write_uri
from flows.workspace_journal import journal_of
from pipeline.errors import InputError
from pipeline.params import tracking_uri
from pipeline.progress import bars
from pipeline.redaction import has_password, redacted
from pipeline.release.move.copy import Progress


def move_registry(uri: str, name: str, *, to: str, edit: bool) -> dict[str, Any]:
    """Move model `name` from the registry `uri` to the one that `to` names, `env:VARIABLE` or a URI; JSON values.

    `edit`: then set registry.uri of params.yaml to `to`, as it is written. `line` is what it must say, and `edited`
    whether it was changed. Raises what `pipeline.release.move` raises, and InputError where params.yaml cannot be
    edited, before anything is copied.
    """
    from pipeline.release.move.steps import move

    target, kept = tracking_uri(to, "--to"), journal_of(uri, name)
    if edit:
        if kept.path is None:
            raise InputError(
                f"--edit: is for the workspace of the registry that is moved. {kept.why_none}"
            )
        check_writable_uri(to)
    with _told(name) as progress:
        moved = move(uri, target, name, journal=kept.path, progress=progress)
    edited = edit and write_uri(to)
    return {**moved.to_json(), "line": _line(to), "edited": edited, "workspace": kept.ours}


def _line(to: str) -> str:
    """What registry.uri must say; a password may not stand there."""
    return "uri: env:MLFLOW_TRACKING_URI" if has_password(to) else f"uri: {redacted(to)}"


@contextmanager
def _told(name: str) -> Iterator[Progress]:
    """A line on standard error for each version; on a terminal a bar below."""
    with bars() as shown:
        task = shown.add_task(f"move {name} (versions)", total=None)

        def progress(done: int, total: int, what: str) -> None:
            shown.update(task, completed=done, total=total)
            if not os.environ.get("MERGEGATE_QUIET"):
                shown.console.print(what, highlight=False, markup=False, soft_wrap=True)

        yield progress
