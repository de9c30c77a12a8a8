"""Progress bars on standard error: shown on a terminal, silent when piped or with --quiet."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)


def bars() -> Progress:
    """A rich Progress to use as a context manager; disabled unless standard error is a terminal.

    The environment variable MERGEGATE_QUIET (set by --quiet, inherited by stages) disables it as well.
    """
    quiet = bool(os.environ.get("MERGEGATE_QUIET")) or not sys.stderr.isatty()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=quiet,
        transient=True,
    )
