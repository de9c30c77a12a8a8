"""What is known before anything runs: the golden sets' samples, and how far models differed earlier."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from gates import Rule
from gates.rule import BEST_EXPERT, UNMERGED
from gates.score_lines import read_blocks
from gates.score_rows import RowError, attributes_of
from gates.side import Side
from pipeline.errors import InputError, MergegateError
from pipeline.facts import Evaluation, read_evaluation
from pipeline.params import Params
from pipeline.stages.workspace import BUILD, EVALS

Samples = Sequence[Mapping[str, str]]  # for each sample the fields that group it
Column = dict[str, float]  # sample -> score


def golden_samples(params: Params, folder: Path, rule: Rule) -> Samples | None:
    """The samples of the rule's golden set; None where its task has data of its own.

    Raises InputError naming file and line, also where a row has no field that the rule groups by.
    """
    skill = params.evaluate.skills.get(rule.name)
    path = skill.split("test") if skill else None
    if path is None:
        return None
    found: list[Mapping[str, str]] = []
    for numbers, rows in read_blocks(folder / path, sha256()):
        for number, row in zip(numbers, rows, strict=True):
            try:
                found.append(dict(attributes_of({}, row, rule.fields)))
            except RowError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
            if len(found[-1]) < len(rule.fields):
                missing = next(name for name in rule.fields if name not in row)
                raise InputError(
                    f"{path}, line {number}: no field {missing}, by which the policy groups the "
                    f"samples of {rule.name}. Fill it in every row, or take it out of the policy."
                )
    return found[: params.evaluate.limit]


def scored_samples(side: Side, rule: Rule) -> Samples | None:
    """The samples of the rule that a file of scores holds; None where it has none."""
    key = (rule.name, rule.metric)
    return [dict(s.attributes) for s in side.scores if (s.skill, s.metric) == key] or None


@dataclass(frozen=True)
class Spread:
    """The mean square difference of two variants' scores on one sample, in the metric's units squared.

    For scores of 0 and 1 it is the share of samples that the two answer differently.
    """

    square: float
    words: str  # where it comes from


class EarlierScores:
    """The evaluations that earlier releases left in a workspace; whatever cannot be read is passed over."""

    def __init__(self, params: Params, folder: Path) -> None:
        self._experts = tuple(params.experts)
        names = ("base", *params.experts, "plain")
        files = {name: folder / EVALS / f"{name}.json" for name in names}
        merges = {
            name: folder / BUILD / name / "evals" / "merged.json" for name in params.candidates
        }
        self._variants = dict(_read(files))
        self._merges = dict(_read(merges))

    def spread(self, rule: Rule) -> Spread | None:
        """Between the rule's reference and the merge closest to it: the likest to one as good.

        None where there are no such scores.
        """
        of_expert = rule.reference in (BEST_EXPERT, UNMERGED)
        names = self._experts if of_expert else (rule.reference,)
        found = {n: _column(self._variants[n], rule) for n in names if n in self._variants}
        references = {name: column for name, column in found.items() if column}
        others = {**self._merges, **{n: e for n, e in self._variants.items() if n == "plain"}}
        if not references:
            return None
        sign = 1 if rule.direction == "higher" else -1
        name, reference = max(references.items(), key=lambda item: sign * _mean(item[1]))
        pairs = [
            (abs(_mean(column) - _mean(reference)), other, column)
            for other, evaluation in others.items()
            if other != name and (column := _column(evaluation, rule))
            and column.keys() == reference.keys()
        ]  # fmt: skip
        if not pairs:
            return None
        _, other, column = min(pairs, key=lambda pair: pair[:2])
        square = float(np.mean([(column[i] - reference[i]) ** 2 for i in reference]))
        if not square <= (rule.high - rule.low) ** 2:  # NaN too: such scores plan nothing
            return None
        words = f"as {other} and {name} differed in {BUILD}/"
        return Spread(_at_least_one(square, len(reference), rule), words)


def independent_spread(side: Side, rule: Rule) -> Spread | None:
    """Between the reference and another that is as good and errs independently of it.

    Two fine-tunes of one model agree more often than that, so it asks for more samples than it may
    take. None where the side has no scores under the rule.
    """
    scores = [s.score for s in side.scores if (s.skill, s.metric) == (rule.name, rule.metric)]
    if not scores or not all(rule.low <= score <= rule.high for score in scores):
        return None
    square = 2 * float(np.var(scores))
    return Spread(
        _at_least_one(square, len(scores), rule), "as if both erred independently of each other"
    )


def _at_least_one(square: float, n: int, rule: Rule) -> float:
    """Never less than one sample in n that goes from one end of the range to the other.

    That none differed among n does not say that none ever will.
    """
    return max(square, (rule.high - rule.low) ** 2 / n)


def _read(files: dict[str, Path]) -> Iterator[tuple[str, Evaluation]]:
    for name, path in files.items():
        try:
            yield name, read_evaluation(path)
        except (MergegateError, OSError, KeyError, TypeError, ValueError, AttributeError):
            continue


def _column(evaluation: Evaluation, rule: Rule) -> Column:
    return {
        s.sample_id: s.score
        for s in evaluation.scores
        if (s.skill, s.metric) == (rule.name, rule.metric)
    }


def _mean(column: Column) -> float:
    return float(np.mean(list(column.values())))
