"""Many general rows of one plain form at once, several times as fast as one by one.

What is taken here, `score_rows.general_score` takes row by row with the same result. Whatever is
not plainly right is left to that, which has the words for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from gates.score_rows import MAX_TEXT, UNCHECKED, Asked, RowError, attributes_of
from pipeline.facts import Score

Row = Mapping[str, Any]
Columns = Mapping[str, Sequence[Any]]
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
    columns = _columns(rows)
    _need("prompt" not in columns)
    skills = _skills(columns, asked)
    found = set(skills) if "skill" in columns else {asked.skill}
    metrics, value = _metrics(columns, found, asked)
    ids = _identifiers(columns["sample_id"] if "sample_id" in columns else columns.get("id", ()))
    digest = next((key for key in ("sample_digest", "digest") if key in columns), "")
    digests = _texts(columns[digest]) if digest else repeat(UNCHECKED)
    values, groups = _figures(columns[value]), _groups(rows, columns, skills, found, asked)
    kind = "digests" if digest else ""
    _need(all(kinds.get(skill, kind) == kind for skill in found))
    kinds.update(dict.fromkeys(found, kind))
    return _made(skills, metrics, ids, digests, values, groups)


def _made(*columns: Iterable[Any]) -> list[Score]:
    """`Score` of each row; some of the columns may repeat a value without end.

    A frozen dataclass sets its fields through a guard, one by one. Without it, two files of 100,000
    samples take a tenth less time to judge.
    """
    made = []
    for skill, metric, sample, digest, score, groups in zip(*columns, strict=False):
        one = object.__new__(Score)
        fields = one.__dict__
        fields["skill"] = skill
        fields["metric"] = metric
        fields["sample_id"] = sample
        fields["sample_digest"] = digest
        fields["score"] = score
        fields["attributes"] = groups
        made.append(one)
    return made


def _columns(rows: Sequence[Row]) -> Columns:
    """The values by key; all rows have the keys of the first, and no other."""
    keys = tuple(rows[0])
    _need(len(keys) > 1 and set(map(len, rows)) == {len(keys)})
    try:
        return dict(zip(keys, zip(*map(itemgetter(*keys), rows), strict=True), strict=True))
    except KeyError:
        raise _NotPlainError from None


def _skills(columns: Columns, asked: Asked) -> Iterable[str]:
    if "skill" in columns:
        named = _texts(columns["skill"])
        return list(map(asked.skill_of, named)) if asked.tasks else named
    _need(asked.skill)
    return repeat(asked.skill)


def _metrics(columns: Columns, skills: set[str], asked: Asked) -> tuple[Iterable[str], str]:
    """The metrics, and the key of their values."""
    if "metric" in columns:
        _need("score" in columns)
        return _texts(columns["metric"]), "score"
    wanted = asked.metrics.get(next(iter(skills))) if len(skills) == 1 else None
    value = wanted if wanted in columns else "score"
    _need(wanted and value in columns)
    return repeat(str(wanted)), str(value)


def _identifiers(column: Sequence[Any]) -> Sequence[str]:
    if set(map(type, column)) == {int} and max(map(abs, column)) < 10**100:
        return list(map(str, column))
    return _texts(column)


def _texts(column: Sequence[Any]) -> Sequence[str]:
    _need(set(map(type, column)) == {str})
    lengths = set(map(len, column))
    _need(min(lengths) > 0 and max(lengths) <= MAX_TEXT)
    return column


def _figures(column: Sequence[Any]) -> Sequence[float]:
    types = set(map(type, column))
    if types == {float}:
        return column
    _need(types <= {float, int, bool})
    try:
        return list(map(float, column))
    except OverflowError:
        raise _NotPlainError from None


def _groups(
    rows: Sequence[Row], columns: Columns, skills: Iterable[str], found: set[str], asked: Asked
) -> Iterable[Attributes]:
    fields = {skill: asked.groupings.get(skill, ()) for skill in found}
    if "attributes" not in columns and not any(fields.values()):
        return repeat(())
    if "attributes" in columns or len(found) > 1:
        pairs = zip(rows, skills, strict=False)  # `skills` may repeat one without end
        return [attributes_of(row, row, fields[skill]) for row, skill in pairs]
    names = sorted(name for name in next(iter(fields.values())) if name in columns)
    return list(zip(*(_labelled(name, columns[name]) for name in names), strict=True)) or repeat(())


def _labelled(name: str, column: Sequence[Any]) -> Iterable[tuple[str, str]]:
    """The field and its value for each row; the label of each value is made once."""
    # Values of other types may be equal and have different labels, as 1 and True.
    _need(set(map(type, column)) in ({str}, {int}, {bool}))
    labels = {value: attributes_of({}, {name: value}, (name,))[0] for value in set(column)}
    return map(labels.__getitem__, column)


def _need(plain: object) -> None:
    if not plain:
        raise _NotPlainError
