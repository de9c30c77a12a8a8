"""Many general rows of one plain form at once, several times as fast as one by one.

What is taken here, `score_rows.general_score` takes row by row with the same result. Whatever is
not plainly right is left to that, which has the words for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from gates.score_rows import MAX_TEXT, UNCHECKED, Asked, RowError, attributes_of
from pipeline.facts import Score

Row = Mapping[str, Any]
Attributes = tuple[tuple[str, str], ...]


class _NotPlainError(Exception):
    """The rows need a look one by one."""


def general_scores(rows: Sequence[Row], asked: Asked, kinds: dict[str, str]) -> list[Score] | None:
    """The scores of the rows, and into `kinds` what the digests of each skill are of; or None.

    Plain are rows with the same keys, whose ids are texts or whole numbers, whose digests say what
    was asked or that nothing does; and of one skill, where they do not name their metric.
    """
    try:
        return _scores(rows, asked, kinds)
    except (_NotPlainError, RowError):
        return None


def _scores(rows: Sequence[Row], asked: Asked, kinds: dict[str, str]) -> list[Score]:
    keys = rows[0].keys()
    _need("prompt" not in keys and all(row.keys() == keys for row in rows))
    skills = _skills(rows, keys, asked)
    found = set(skills) if "skill" in keys else {asked.skill}
    metrics, value = _metrics(rows, keys, found, asked)
    ids = _identifiers(rows, "sample_id" if "sample_id" in keys else "id")
    digest = next((key for key in ("sample_digest", "digest") if key in keys), "")
    digests = _texts(rows, digest) if digest else repeat(UNCHECKED)
    values, groups = _figures(rows, value), _groups(rows, keys, skills, found, asked)
    kind = "digests" if digest else ""
    _need(all(kinds.get(skill, kind) == kind for skill in found))
    kinds.update(dict.fromkeys(found, kind))
    return list(map(Score, skills, metrics, ids, digests, values, groups))


def _skills(rows: Sequence[Row], keys: Collection[str], asked: Asked) -> Iterable[str]:
    if "skill" in keys:
        named = _texts(rows, "skill")
        return list(map(asked.skill_of, named)) if asked.tasks else named
    _need(asked.skill)
    return repeat(asked.skill)


def _metrics(
    rows: Sequence[Row], keys: Collection[str], skills: set[str], asked: Asked
) -> tuple[Iterable[str], str]:
    """The metrics, and the key of their values."""
    if "metric" in keys:
        _need("score" in keys)
        return _texts(rows, "metric"), "score"
    wanted = asked.metrics.get(next(iter(skills))) if len(skills) == 1 else None
    value = wanted if wanted in keys else "score"
    _need(wanted and value in keys)
    return repeat(str(wanted)), str(value)


def _identifiers(rows: Sequence[Row], key: str) -> Sequence[str]:
    column: list[Any] = [row.get(key) for row in rows]
    if set(map(type, column)) == {int} and max(map(abs, column)) < 10**100:
        return list(map(str, column))
    return _texts(rows, key)


def _texts(rows: Sequence[Row], key: str) -> Sequence[str]:
    _need(key in rows[0])
    column: list[Any] = list(map(itemgetter(key), rows))
    _need(set(map(type, column)) == {str})
    _need(min(map(len, column)) > 0 and max(map(len, column)) <= MAX_TEXT)
    return column


def _figures(rows: Sequence[Row], key: str) -> Sequence[float]:
    column: list[Any] = list(map(itemgetter(key), rows))
    types = set(map(type, column))
    if types == {float}:
        return column
    _need(types <= {float, int, bool})
    try:
        return list(map(float, column))
    except OverflowError:
        raise _NotPlainError from None


def _groups(
    rows: Sequence[Row],
    keys: Collection[str],
    skills: Iterable[str],
    found: set[str],
    asked: Asked,
) -> Iterable[Attributes]:
    fields = {skill: asked.groupings.get(skill, ()) for skill in found}
    if "attributes" not in keys and not any(fields.values()):
        return repeat(())
    return [
        attributes_of(row, row, fields[skill]) for row, skill in zip(rows, skills, strict=False)
    ]


def _need(plain: object) -> None:
    if not plain:
        raise _NotPlainError
