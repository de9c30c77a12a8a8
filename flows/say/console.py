"""How the command prints: lines, facts and JSON on standard output, failures on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table

_PIPED = 240  # columns of a table that nobody's terminal bounds


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """As without rich: whoever called the command decides what it means that the reader has gone."""
        raise BrokenPipeError


def escape(text: str) -> str:
    """`text` as it is printed: without markup, or control characters by which a file could rewrite the screen."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return markup.escape("".join(shown))


def line(text: str) -> None:
    """One plain line."""
    terminal().print(escape(text))


def as_json(value: Any) -> None:
    """`value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def note(text: str) -> None:
    """One line on standard error, which is no part of the report."""
    _Console(stderr=True, highlight=False, soft_wrap=True).print(f"mergegate: {escape(text)}")


def failure(message: str, code: int) -> int:
    """The message of a failure on standard error, where that can be written; returns the exit code."""
    with suppress(OSError):
        _Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[red]mergegate:[/red] {escape(message)}"
        )
    return code


def facts(title: str, pairs: Mapping[str, Any]) -> None:
    """A title and aligned key-value lines."""
    console = terminal()
    console.print(f"[bold]{escape(title)}[/]")
    width = max(map(len, pairs), default=0)
    for key, value in pairs.items():
        console.print(f"  {key:<{width}}  {escape(str(value))}")


def terminal() -> Console:
    """Standard output."""
    # Piped output keeps a message and a row of a table on one line; a terminal wraps them.
    piped = not sys.stdout.isatty()
    return _Console(highlight=False, soft_wrap=piped, width=_PIPED if piped else None)


def table(*columns: str) -> Table:
    """A table without lines, its columns named."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column)
    return made


def moment(iso: str) -> str:
    """A moment of a record, ISO 8601 with its zone, as a person reads it, in UTC."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(count: int) -> str:
    """A number of bytes in the unit that reads best."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:,} bytes"
