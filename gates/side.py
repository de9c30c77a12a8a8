"""The scores of one variant with all that is known of how they were made; two of them on common ground.

Whoever hands over a file of scores may not say what was asked, by which harness, how decoded. What
one side leaves open cannot be compared; `align` takes it out of the comparison and says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from gates.score_rows import UNCHECKED, Asked
from pipeline.facts import Evaluation, Score, TaskFacts


@dataclass
class Side:
    """The scores of one variant; "" and {} stand for what their source does not state."""

    name: str  # what a person calls the source: the name of the file
    digest: str = ""  # SHA-256 of what was read
    model: str = ""
    model_digest: str = ""
    harness: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)  # by skill
    kinds: dict[str, str] = field(default_factory=dict)  # by skill: what its digests are of, or ""
    scores: list[Score] = field(default_factory=list)


def of_evaluation(evaluation: Evaluation, name: str, digest: str) -> Side:
    """The side of an evaluation of mergegate, which states all there is to state."""
    return Side(
        name=name,
        digest=digest,
        model=evaluation.model,
        model_digest=evaluation.model_digest,
        harness=evaluation.harness,
        settings=evaluation.settings,
        tasks=dict(evaluation.tasks),
        kinds=dict.fromkeys(evaluation.tasks, "digests"),
        scores=list(evaluation.scores),
    )


def to_evaluation(side: Side, variant: str, role: str) -> Evaluation:
    """The side as the gate reads it, under the name of a variant.

    Where the weights are unknown, the digest of the scores stands for them, marked with the `role`:
    two models may well have scored the same everywhere.
    """
    return Evaluation(
        variant=variant,
        model=side.model or variant,
        model_digest=side.model_digest or f"{role}-scores-sha256:{side.digest}",
        harness=side.harness,
        settings=side.settings,
        tasks=side.tasks,
        scores=tuple(side.scores),
    )


def counted(side: Side, asked: Asked) -> Side:
    """The side with the number of samples of each skill, where its source gives no other facts."""
    found = Counter(map(attrgetter("skill", "metric"), side.scores))
    for skill in side.kinds:
        held = {metric: count for (name, metric), count in found.items() if name == skill}
        count = held.get(asked.metrics.get(skill, ""), max(held.values(), default=0))
        side.tasks[skill] = TaskFacts("", "", "", count)
    return side


def align(sides: Sequence[Side]) -> list[str]:
    """Take out of every side what some side leaves open; say in words what is not compared then."""
    notes = _align_questions(sides) + _align_settings(sides) + _unpaired(sides)
    for skill in {skill for side in sides for skill in side.tasks}:
        held = [side for side in sides if skill in side.tasks]
        facts = [side.tasks[skill] for side in held]
        for side in held:
            ours = side.tasks[skill]
            side.tasks[skill] = TaskFacts(
                task=ours.task if all(f.task for f in facts) else "",
                task_digest=ours.task_digest if all(f.task_digest for f in facts) else "",
                golden_digest=ours.golden_digest if all(f.golden_digest for f in facts) else "",
                samples=ours.samples,
            )
    return notes


def _align_questions(sides: Sequence[Side]) -> list[str]:
    kinds: dict[str, set[str]] = {}
    for side in sides:
        for skill, kind in side.kinds.items():
            kinds.setdefault(skill, set()).add(kind)
    loose = {skill: found for skill, found in kinds.items() if len(found) > 1 or "" in found}
    if not loose:
        return []
    for side in sides:
        side.scores = [
            replace(score, sample_digest=UNCHECKED)
            if score.skill in loose and score.sample_digest != UNCHECKED
            else score
            for score in side.scores
        ]
    silent = [side.name for side in sides if any(not side.kinds.get(s, "-") for s in loose)]
    why = (
        f"{_list(silent)} {'does' if len(silent) == 1 else 'do'} not say what was asked"
        if silent
        else "the sides do not say in the same way what was asked"
    )
    return [
        f"The samples of {_list(sorted(loose))} were paired by their ids alone: {why}. "
        "That both sides were asked the same questions was not checked."
    ]


def _align_settings(sides: Sequence[Side]) -> list[str]:
    silent = [side.name for side in sides if not side.harness]
    if not silent:
        return []
    for side in sides:
        side.harness, side.settings = "", {}
    return [
        f"Harness, version and settings were not compared: {_list(silent)} "
        f"{'does' if len(silent) == 1 else 'do'} not state them."
    ]


def _unpaired(sides: Sequence[Side]) -> list[str]:
    """Which samples only some sides have, where their numbers tell that there are such."""
    notes = []
    skills = sorted({skill for side in sides for skill in side.tasks})
    for skill in skills:
        held = [side for side in sides if skill in side.tasks]
        if len({side.tasks[skill].samples for side in held}) < 2:
            continue
        ids = [{s.sample_id for s in side.scores if s.skill == skill} for side in held]
        union = set().union(*ids)
        for side, found in zip(held, ids, strict=True):
            if lacking := sorted(union - found):
                few = ", ".join(lacking[:3]) + (", …" if len(lacking) > 3 else "")
                noun = "sample" if len(lacking) == 1 else "samples"
                notes.append(f"{side.name} lacks {len(lacking):,} {noun} of {skill}: {few}")
    return notes


def _list(names: Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
