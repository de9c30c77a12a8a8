"""What a person sees of a running release: one bar, and the stages that are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, TaskID

from pipeline.progress import bars


class Board:
    """Counts finished stages on a progress bar; silent where bars() is."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._running: list[str] = []
        self._lock = threading.Lock()

    @contextmanager
    def of(self, candidate: str, total: int) -> Iterator[None]:
        """Show the board while the block runs."""
        with bars() as progress:
            self._progress, self._title = progress, f"release {candidate}"
            self._task = progress.add_task(self._title, total=total)
            yield
        self._progress = None

    @contextmanager
    def running(self, stage: str) -> Iterator[Callable[[str], str]]:
        """Show `stage` as under way; call the yielded function with how it ended."""
        self._change(lambda: self._running.append(stage))
        try:
            yield lambda state: self._end(stage, state)
        finally:
            self._change(lambda: self._running.remove(stage), advance=1)

    def unchanged(self, count: int) -> None:
        """Count stages that had nothing to do."""
        self._change(lambda: None, advance=count)

    def _end(self, stage: str, state: str) -> str:
        if self._progress and not self._progress.disable:
            self._progress.console.print(f"  [dim]{state:>9}[/dim]  {stage}", highlight=False)
        return state

    def _change(self, change: Callable[[], None], advance: int = 0) -> None:
        with self._lock:
            change()
            if self._progress:
                names = ", ".join(self._running)
                self._progress.update(
                    self._task,
                    description=f"{self._title}: {names}" if names else self._title,
                    advance=advance,
                )
