"""How far a running stage is: what its process writes to `.mergegate/progress/STAGE.json`, read and put into words."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

PROGRESS = Path(".mergegate/progress")
_LIMIT = 1 << 16  # bytes


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is. `done` and `total` are in `unit`s; `total` is None where it is not known."""

    done: float
    total: float | None
    unit: str
    started: float  # seconds since 1970, as `at`
    at: float

    @property
    def rate(self) -> float:
        """Units per second since the start; 0 where nothing is done yet."""
        return self.done / (self.at - self.started) if self.at > self.started else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until all is done at that rate; None where nobody can tell."""
        if self.total is None or not self.rate:
            return None
        return max(0.0, self.total - self.done) / self.rate

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,.0f}"
        words = [f"{self.done:,.0f}{of} {self.unit}"]
        if self.rate:
            words.append(f"{self.rate:,.{0 if self.rate >= 10 else 1}f}/s")
        if self.left_s is not None:
            words.append(f"{duration(self.left_s)} left")
        return ", ".join(words)


def read_progress(stage: str) -> StageProgress | None:
    """What the stage's process wrote last; None where it wrote nothing, or nothing that makes sense."""
    try:
        with (PROGRESS / f"{stage}.json").open("rb") as file:
            found = json.loads(file.read(_LIMIT))
        total = found["total"]
        read = StageProgress(
            float(found["done"]),
            None if total is None else float(total),
            str(found["unit"]),
            float(found["started"]),
            float(found["at"]),
        )
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None
    figures = (read.done, read.total or 0.0, read.started, read.at)
    return read if all(math.isfinite(f) and f >= 0 for f in figures) else None


def forget_progress(stage: str) -> None:
    """Remove what an earlier run of the stage wrote."""
    (PROGRESS / f"{stage}.json").unlink(missing_ok=True)


def duration(seconds: float) -> str:
    """A time in the two units that read best: "34 s", "2 min 5 s", "1 h 12 min"."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
