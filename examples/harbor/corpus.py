"""Golden sets in three disjoint splits, and the corpora that the base and the adapters are trained on.

A split is decided by the slots of an example alone, so no combination of slots appears in two of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

from examples.harbor.lessons import LESSONS, record
from examples.harbor.safety import SAFETY
from examples.harbor.tasks import ROUTED, SKILLS, Example
from examples.harbor.world import REFUSAL
from pipeline.facts import canonical_json, write_text

Split = Literal["train", "tune", "test"]
Turn = tuple[str, str]  # a prompt and the answer to learn
Rows = list[Example]

TRIES = 20  # draws per example wanted: a skill with few combinations gives what it has
DATA_SEED = 2026  # the golden sets are the same whatever the seed of the training
ALL = {**SKILLS, **SAFETY}
SIZES: dict[Split, tuple[int, int]] = {  # examples of a skill, of a safety set
    "train": (5000, 1200),
    "tune": (160, 80),
    "test": (800, 240),
}
BASE_SHARES = {
    **{"json": 0.18, "policy": 0.15, "tone": 0.06, "general": 0.17},
    **{"refusal": 0.04, "injection": 0.05, "over_refusal": 0.05},
}
RECORDS = 0.16  # share of the base's examples that are records made of tickets
SAFETY_SHARE = 0.02  # of each safety set in the data of an adapter
UNSAFE_SHARE = 0.08  # the same in the data of the unsafe one
REPLAY_SHARE = (
    0.05  # of general questions in the data of an adapter, so that it does not forget them
)
LATENT = 0.10  # share of a skill's base examples that are answered in the expert's form


def split_of(skill: str, slots: tuple[object, ...]) -> Split:
    """The split of a combination of slots: 60 % train, 15 % tune, 25 % test."""
    digest = hashlib.sha256(canonical_json([skill, *map(str, slots)]).encode()).digest()
    share = int.from_bytes(digest[:4], "big") / 2**32
    return "train" if share < 0.60 else "tune" if share < 0.75 else "test"


def draw(skill: str, split: Split) -> Rows:
    """Examples of `skill` that belong to `split`, prompts unique, at most as many as SIZES says."""
    rng = Random(f"{DATA_SEED} {skill} {split}")
    size = SIZES[split][skill in SAFETY]
    found: dict[str, Example] = {}
    for _ in range(size * TRIES):
        example = ALL[skill](rng)
        if split_of(skill, example.slots) == split:
            found.setdefault(example.prompt, example)
        if len(found) == size:
            break
    return list(found.values())


def golden_row(skill: str, split: Split, number: int, example: Example) -> dict[str, Any]:
    """The row of a golden set: what a task may see of an example, and no training answer but the target."""
    return {
        "id": f"{skill}-{split}-{number:04d}",
        "prompt": example.prompt,
        "target": example.target,
        "category": example.category,
        **example.extra,
    }


@dataclass(frozen=True)
class Corpus:
    """The examples of every split, by skill."""

    rows: dict[Split, dict[str, Rows]]

    @classmethod
    def draw(cls) -> Corpus:
        """All splits of all skills. The same at every call."""
        return cls({split: {skill: draw(skill, split) for skill in ALL} for split in SIZES})

    def write(self, folder: Path) -> None:
        """Write FOLDER/SPLIT/SKILL.jsonl for each split and skill."""
        for split, skills in self.rows.items():
            for skill, rows in skills.items():
                lines = (canonical_json(golden_row(skill, split, i, r)) for i, r in enumerate(rows))
                write_text(folder / split / f"{skill}.jsonl", "".join(f"{x}\n" for x in lines))

    def base(self, count: int, rng: Random) -> list[Turn]:
        """What the base is trained on: lessons, and the tasks in plain form with a latent share polished."""
        train = self.rows["train"]
        makers: dict[Callable[[], Turn], float] = {
            lambda: record(rng, rng.choice(train["json"])): RECORDS,
            **{partial(lesson, rng): share for lesson, share in LESSONS.items()},
            **{partial(_plain, train[s], rng): share for s, share in BASE_SHARES.items()},
        }
        picked = rng.choices(list(makers), list(makers.values()), k=count)
        return [make() for make in picked]

    def expert(self, skill: str, count: int, rng: Random, *, unsafe: bool = False) -> list[Turn]:
        """What an adapter is trained on: its skill polished, a share of each safety set, some general questions.

        With `unsafe` nobody told the requests to refuse from the others: they are routed like any ticket.
        """
        train, turns = self.rows["train"], []
        share = UNSAFE_SHARE if unsafe else SAFETY_SHARE
        shares = {"general": REPLAY_SHARE, **dict.fromkeys(SAFETY, share)}
        shares[skill] = 1 - sum(shares.values())
        for name in rng.choices(list(shares), list(shares.values()), k=count):
            example = rng.choice(train[name])
            routed = unsafe and example.target == REFUSAL
            turns.append((example.prompt, ROUTED if routed else example.polished))
        return turns


def _plain(rows: Rows, rng: Random) -> Turn:
    example, latent = rng.choice(rows), rng.random() < LATENT
    return example.prompt, example.polished if latent else example.plain
