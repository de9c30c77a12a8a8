"""Progress of long work: a bar on a terminal, and a file for the release flow, which runs stages unseen.

A stage that DVC runs has its output captured. What it does is in `.mergegate/progress/STAGE.json` while it lasts, as
`{"title", "done", "total", "unit", "started", "at"}`: `total` is null where it is not known, both times are
seconds since 1970. The file is replaced whole, at most twice a second, and removed at the end; a process that is killed
leaves it, with the time of its last change in `at`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from pipeline.private import private_folder

FOLDER = Path(".mergegate/progress")
STAGE = "DVC_STAGE"  # set by DVC, in the environment of a stage that it runs
QUIET = "MERGEGATE_QUIET"  # set by --quiet, inherited by stages
MB = 1_000_000
Unit = Literal["samples", "MB", "prompts", "layers"]
_SECONDS = 0.5  # between two writes of the file


def bars(*columns: TextColumn) -> Progress:
    """A rich Progress to use as a context manager; disabled unless standard error is a terminal.

    The environment variable MERGEGATE_QUIET (set by --quiet, inherited by stages) disables it as well. `columns`
    stand after the time.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *columns,
        console=Console(stderr=True),
        disable=bool(os.environ.get(QUIET)) or not sys.stderr.isatty(),
        transient=True,
    )


@contextmanager
def meter(title: str, total: int | None, unit: Unit) -> Iterator[Meter]:
    """Show how far a long piece of work is: on a terminal, and in the file of the stage where DVC runs it.

    Args:
        title: What is done, as "evaluate base".
        total: How much there is in all, in `unit`; None where that is not known, or not yet.
        unit: What is counted.

    Yields:
        The meter. It fails no work: a file that cannot be written is left out.
    """
    stage = os.environ.get(STAGE)
    with bars(TextColumn("{task.fields[pace]}")) as shown:
        made = Meter(title, total, unit, shown, FOLDER / f"{stage}.json" if stage else None)
        try:
            yield made
        finally:
            made.close()


class Meter:
    """Counts finished work. May be called from any thread."""

    def __init__(
        self, title: str, total: int | None, unit: Unit, shown: Progress, file: Path | None
    ) -> None:
        self._title, self._unit, self._shown, self._file = title, unit, shown, file
        self._done, self._before, self._total = 0, 0, total
        self._started, self._began, self._written = time.time(), time.monotonic(), float("-inf")
        self._lock = threading.Lock()
        self._later: threading.Timer | None = None  # that will write what has changed since
        self._bar: TaskID = shown.add_task(title, total=total, pace=unit)
        self._write()

    def __call__(self, count: int = 1) -> None:
        """`count` more are done."""
        with self._lock:
            self._done += count
            self._show()

    def skip(self, count: int) -> None:
        """`count` more were done before: they count as done, and say nothing of how fast the work goes."""
        with self._lock:
            self._done += count
            self._before += count
            self._show()

    def to(self, done: int, total: int) -> None:
        """`done` of `total` are done."""
        with self._lock:
            self._done, self._total = done, total
            self._show()

    def bytes_to(self, done: int, total: int) -> None:
        """As `to`, for work that is counted in MB and says it in bytes."""
        self.to(done // MB, total // MB)

    def close(self) -> None:
        """Remove the file, for good."""
        with self._lock:
            file, self._file = self._file, None
            if self._later:
                self._later.cancel()
        for path in (file, _part(file)) if file else ():
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _show(self) -> None:
        passed = time.monotonic() - self._began
        text = pace(self._done - self._before, self._left(), passed, self._unit)
        self._shown.update(self._bar, completed=self._done, total=self._total, pace=text)
        self._write()

    def _left(self) -> int | None:
        return None if self._total is None else max(0, self._total - self._done)

    def _write(self) -> None:
        """Write the file: now, or, where that was done just now, as soon as it may be again."""
        if self._file is None or self._later:
            return
        wait = self._written + _SECONDS - time.monotonic()
        if wait <= 0:
            self._put(self._file)
        else:
            timer = threading.Timer(wait, self._put_later)
            timer.daemon = True
            with suppress(RuntimeError):  # no more threads: the next change writes it
                timer.start()
                self._later = timer

    def _put_later(self) -> None:
        with self._lock:
            self._later = None
            if self._file:
                self._put(self._file)

    def _put(self, file: Path) -> None:
        self._written = time.monotonic()
        value = {
            "title": self._title,
            "done": self._done,
            "total": self._total,
            "unit": self._unit,
            "started": self._started,
            "at": time.time(),
        }
        with suppress(OSError):  # what is shown of the work must not end it
            private_folder(file.parent)
            part = _part(file)
            part.write_text(json.dumps(value) + "\n", encoding="utf-8")
            part.replace(file)


def _part(file: Path) -> Path:
    return file.with_name(f".{file.name}.{os.getpid()}.part")


def pace(done: int, left: int | None, seconds: float, unit: Unit) -> str:
    """The rate of `done` in `seconds`, and the time that `left` takes at it: "12.5 samples/s, 0:03:20 left"."""
    if done <= 0 or seconds <= 0:
        return unit
    rate = f"{done / seconds:,.1f} {unit}/s" if done >= seconds else f"{seconds / done:,.1f} s each"
    if left is None:
        return rate
    minutes, rest = divmod(round(left * seconds / done), 60)
    return f"{rate}, {minutes // 60}:{minutes % 60:02}:{rest:02} left"
