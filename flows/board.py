"""What a person sees of a running release: on a terminal bars, elsewhere one line for each thing that happens.

Stages are counted by name, so that a stage that is tried again counts once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from flows.stage_progress import duration, read_progress
from flows.workspace_lock import note_stages

LINE_EVERY_S = 60.0  # for a stage that runs long, where there is no terminal
_TICK_S = 0.5
_WORDS = {"restored": "restored from the cache", "refusal": "logged as refused"}


class Display(Protocol):
    """Where a board shows what happens. Called by one thread at a time."""

    def began(self, stage: str) -> None:
        """The stage is under way."""

    def ended(self, stage: str, state: str, seconds: float) -> None:
        """The stage took `seconds`."""

    def passed(self, stages: Sequence[str]) -> None:
        """The stages had nothing to do."""

    def counted(self, done: int) -> None:
        """So many of the names are done."""

    def tick(self) -> None:
        """Half a second has passed."""


class Board:
    """The stages of a release: which are done, and which are under way."""

    def __init__(self) -> None:
        self._display: Display | None = None
        self._done: set[str] = set()
        self._running: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def of(self, title: str, names: Sequence[str]) -> Iterator[None]:
        """Show the board of the stages `names` while the block runs."""
        self._done, ended = set(), threading.Event()
        with ExitStack() as stack:
            self._display = _display(title, len(names), stack)
            ticker = threading.Thread(target=self._ticks, args=(ended,), daemon=True)
            ticker.start()
            try:
                yield
            finally:
                ended.set()
                ticker.join()
                self._display = None

    @contextmanager
    def running(self, stage: str) -> Iterator[Callable[[str], str]]:
        """Show `stage` as under way; call the yielded function with how it ended."""
        started, state = time.monotonic(), "failed"

        def end(how: str) -> str:
            nonlocal state
            state = how
            return how

        self._begin(stage)
        try:
            yield end
        finally:
            self._end(stage, state, time.monotonic() - started)

    def unchanged(self, stages: Sequence[str]) -> None:
        """Count stages that had nothing to do."""
        with self._lock:
            new = [stage for stage in stages if stage not in self._done]
            self._done.update(new)
            if self._display:
                self._display.passed(new)
                self._display.counted(len(self._done))

    def _begin(self, stage: str) -> None:
        with self._lock:
            self._running.append(stage)
            self._note()
            if self._display:
                self._display.began(stage)

    def _end(self, stage: str, state: str, seconds: float) -> None:
        with self._lock:
            self._running.remove(stage)
            self._note()
            if state != "failed":
                self._done.add(stage)
            if self._display:
                self._display.ended(stage, state, seconds)
                self._display.counted(len(self._done))

    def _note(self) -> None:
        with suppress(OSError):  # on a full disk the release itself says what is wrong
            note_stages(", ".join(self._running))

    def _ticks(self, ended: threading.Event) -> None:
        while not ended.wait(_TICK_S):
            with self._lock:
                if self._display:
                    self._display.tick()


def _display(title: str, total: int, stack: ExitStack) -> Display | None:
    """Bars on a terminal, else lines; nothing with --quiet (MERGEGATE_QUIET)."""
    if os.environ.get("MERGEGATE_QUIET"):
        return None
    return stack.enter_context(_bars(title, total)) if sys.stderr.isatty() else Lines()


class Lines:
    """One line on standard error when a stage begins, when it ends, and each minute in between."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[float, float]] = {}  # when it began, and was spoken of last

    def began(self, stage: str) -> None:
        now = time.monotonic()
        self._running[stage] = now, now
        self._say(stage)

    def ended(self, stage: str, state: str, seconds: float) -> None:
        self._running.pop(stage, None)
        self._say(stage, f"{_WORDS.get(state, state)} ({duration(seconds)})")

    def passed(self, stages: Sequence[str]) -> None:
        for stage in stages:
            self._say(stage, "unchanged")

    def counted(self, done: int) -> None:
        pass

    def tick(self) -> None:
        now = time.monotonic()
        for stage, (began, spoken) in list(self._running.items()):
            if now - spoken >= LINE_EVERY_S:
                self._running[stage] = began, now
                far = read_progress(stage) or "under way"
                self._say(stage, f"{far} ({duration(now - began)} so far)")

    def _say(self, stage: str, what: str = "") -> None:
        with suppress(OSError, ValueError):  # nobody reads: the release goes on
            sys.stderr.write(f"{stage} ... {what}".rstrip() + "\n")
            sys.stderr.flush()


class Bars:
    """A bar for all stages, and below it one for each stage that is under way."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress, self._total = progress, total
        self._whole = progress.add_task(title, total=total, far=f"0 of {total} stages")
        self._stages: dict[str, TaskID] = {}

    def began(self, stage: str) -> None:
        self._stages[stage] = self._progress.add_task(f"  {stage}", total=None, far="")

    def ended(self, stage: str, state: str, seconds: float) -> None:
        self._progress.remove_task(self._stages.pop(stage))
        words = f"  {stage} ... {_WORDS.get(state, state)} ({duration(seconds)})"
        self._progress.console.print(words, style="dim", highlight=False)

    def passed(self, stages: Sequence[str]) -> None:
        pass

    def counted(self, done: int) -> None:
        far = f"{done} of {self._total} stages"
        self._progress.update(self._whole, completed=done, far=far)

    def tick(self) -> None:
        for stage, task in self._stages.items():
            if far := read_progress(stage):
                self._progress.update(task, completed=far.done, total=far.total, far=str(far))


@contextmanager
def _bars(title: str, total: int) -> Iterator[Bars]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[far]}"),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress, title, total)
