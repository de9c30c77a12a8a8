"""The scores of one variant from whatever a caller of `judge` has: a path, or values in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gates.score_files import read_scores
from gates.score_rows import UNCHECKED, Asked, RowError, figure, identifier
from gates.side import Side, counted, of_evaluation
from pipeline.errors import InputError
from pipeline.facts import Evaluation, Score
from pipeline.strict import shown

Values = Mapping[str, Mapping[str, Mapping[str | int, float]]]  # skill -> metric -> id -> score
Source = str | Path | Evaluation | Sequence[Score] | Values


def read_side(source: Source, asked: Asked, name: str) -> Side:
    """The scores behind `source`; `name` is what messages call those that no file holds.

    Raises InputError for what is no such source, and for files as `score_files.read_scores`.
    """
    if isinstance(source, str | Path):
        return read_scores(Path(source), asked)
    if isinstance(source, Evaluation):
        return of_evaluation(source, name, _digest(source.scores))
    side = Side(name)
    if isinstance(source, Mapping):
        _take_values(side, source)
    else:
        _take_scores(side, source)
    side.digest = _digest(side.scores)
    return counted(side, asked)


def _take_values(side: Side, values: Values) -> None:
    for skill, metrics in values.items():
        side.kinds[skill] = ""
        for metric, scores in _mapping(metrics, f"{side.name}: {skill}").items():
            where = f"{side.name}: {skill}, {metric}"
            for sample, value in _mapping(scores, where).items():
                try:
                    entry = identifier(sample), figure(value, "the score")
                except RowError as error:
                    raise InputError(f"{where}, {shown(sample)}: {error}") from None
                side.scores.append(Score(skill, metric, entry[0], UNCHECKED, entry[1]))


def _take_scores(side: Side, scores: Sequence[Score]) -> None:
    for score in scores:
        if not isinstance(score, Score):
            raise InputError(
                f"{side.name}: {shown(score)} is no Score. Pass a path, a sequence of Score, or a "
                "mapping skill -> metric -> {id: score}."
            )
        side.kinds.setdefault(score.skill, "digests")
        side.scores.append(score)


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InputError(
            f"{where}: {shown(value)} is no mapping. Pass skill -> metric -> {{id: score}}."
        )
    return value


def _digest(scores: Sequence[Score]) -> str:
    """SHA-256 over all that the scores say, in their order."""
    seen = hashlib.sha256()
    for s in scores:
        fields = (s.skill, s.metric, s.sample_id, s.sample_digest, s.score, s.attributes)
        seen.update(repr(fields).encode(errors="backslashreplace"))
    return seen.hexdigest()
