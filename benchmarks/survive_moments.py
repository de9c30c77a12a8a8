"""When to kill: moments that cover the whole release evenly, by the clock, within a stage, and between two writes."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from survive_run import ENTER, REGISTER, Run

_LINE = re.compile(
    r"^(\d\d):(\d\d):([\d.]+) \| .*?(?:Task run '([^']+)' - Finished|Beginning flow)", re.M
)
_DAY = 86_400.0
# Two steps that no stage of dvc.yaml makes, and where most that cannot be repeated happens.
STEPS = (ENTER, REGISTER)


@dataclass(frozen=True)
class Moment:
    """`clock`: seconds from the start; `stage`: seconds into it; `writes`: changes of the registry's files."""

    mode: str
    target: str
    amount: float
    after: frozenset[str] = (
        frozenset()
    )  # stages that show, once finished, that the target was up to date

    def __str__(self) -> str:
        unit = "writes" if self.mode == "writes" else "s"
        return f"{self.amount:.4g} {unit} into {self.target}"


def durations(log: str, candidate: str) -> dict[str, float]:
    """Seconds that each stage or step of an undisturbed release took, from the times in its log; `all` is their sum."""
    times, names = [], []
    for hours, minutes, seconds, name in _LINE.findall(log):
        times.append(int(hours) * 3600 + int(minutes) * 60 + float(seconds))
        names.append(name)
    found: dict[str, float] = {}
    for (before, after), name in zip(pairwise(times), names[1:], strict=True):
        if stage := _stage(name, candidate):
            found[stage] = max((after - before) % _DAY, found.get(stage, 0.5))
    return {**found, "all": (times[-1] - times[0]) % _DAY}


class Moments:
    """Draws the next moment; the least killed of what is still due in this round is next, every fourth by the clock."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self.killed: Counter[str] = Counter()
        # Aims count as well: a step that is too short to be hit would else be aimed at for ever.
        self._aimed: Counter[str] = Counter()
        self._drawn = 0

    def draw(self, due: Mapping[str, float], seconds: float, writes: int) -> Moment:
        """`due`: seconds by stage; `seconds`: those of the whole; `writes`: of the registry in one registration."""
        self._drawn += 1
        if self._drawn % 4 == 0 or not due:
            return Moment("clock", "the release", self._chance.uniform(0, seconds))
        target = min(due, key=lambda name: self.killed[name] + self._aimed[name])
        self._aimed[target] += 1
        names = list(due)
        # Stages of one level may end in another order, so the nearest ones show nothing.
        after = frozenset(names[names.index(target) + 3 :]) - {*STEPS}
        if target == REGISTER and self._chance.random() < 0.7:
            return Moment("writes", REGISTER, self._chance.randint(1, max(1, writes)))
        return Moment("stage", target, self._chance.uniform(0, max(due[target], 3.0)), after)


def reached(run: Run, moment: Moment) -> bool:
    """Wait for the moment, or for the proof that its stage is passed over; False where the release ended before."""
    if moment.mode == "clock":
        return _pass(run, moment.amount)
    while not _begun(run, moment.target):
        if run.ended:
            return False
        if moment.after.intersection(map(stage_of, run.finished())):
            return True
        time.sleep(0.05)
    if moment.mode == "writes":
        return _written(run, int(moment.amount))
    return _pass(run, run.seconds + moment.amount)


def _begun(run: Run, target: str) -> bool:
    if target in STEPS:
        last = f"card@{run.candidate}" if target == ENTER else f"enter {run.candidate}"
        if any(name.startswith(last) for name in run.finished()):
            return True
        # Where all stages are up to date, none of them is reported: the registry's step is what comes after.
        return target == ENTER and run.where() in STEPS
    return target in run.stages()


def _pass(run: Run, until: float) -> bool:
    while not run.ended:
        if (left := until - run.seconds) <= 0:
            return True
        time.sleep(min(left, 0.05))
    return False


def _written(run: Run, count: int) -> bool:
    """Wait until the registry's files were seen to change `count` times."""
    seen, last = 0, None
    while not run.ended:
        now = registry_state(run.workspace.folder)
        seen, last = seen + (last is not None and now != last), now
        if seen >= count:
            return True
        time.sleep(0.001)
    return False


def registry_state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Size and time of the registry's files and folders: another value means that something was written."""
    found = []
    roots = [*folder.glob("mlflow.db*"), *folder.glob("mlruns"), *folder.glob("mlartifacts")]
    for path in (p for root in roots for p in (root, *root.rglob("*"))):
        try:
            status = path.stat()
        except OSError:
            continue
        found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _stage(task: str, candidate: str) -> str:
    """The stage of a task's name; `` for what only asks the registry, such as whether a stage is due."""
    if task.startswith("enter "):
        return ENTER
    if task.startswith("register "):
        return REGISTER
    return "" if " " in task else stage_of(task)


def stage_of(task: str) -> str:
    """`evaluate-expert` for `evaluate-expert@lora0`."""
    return task.partition("@")[0]
