"""The comparison table: variants by skills, as the verdict, the model card and the release page show it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.facts import Evaluation


@dataclass(frozen=True)
class Table:
    """Mean scores. `columns` are (skill, metric); a row's None says that the variant has no such score."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]  # (variant, means in column order)

    def to_dict(self) -> dict[str, dict[str, float | None]]:
        """{variant: {«skill/metric»: mean}}."""
        return {
            variant: dict(zip(self._names(), means, strict=True)) for variant, means in self.rows
        }

    def to_csv(self) -> str:
        """With a header; full precision; an empty field where there is no score."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["variant", *self._names()])
        writer.writerows([variant, *means] for variant, means in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Three decimals; «–» where there is no score."""
        lines: list[Sequence[Any]] = [
            ["variant", *self._names()],
            ["---", *["---:"] * len(self.columns)],
            *([variant, *map(_shown, means)] for variant, means in self.rows),
        ]
        return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)

    def _names(self) -> list[str]:
        return [f"{skill}/{metric}" for skill, metric in self.columns]


def comparison(evaluations: Sequence[Evaluation]) -> Table:
    """One row per evaluation, in the order given; columns in the order in which skills and metrics first occur."""
    means = [_means(evaluation) for evaluation in evaluations]
    columns = tuple(dict.fromkeys(column for row in means for column in row))
    return Table(
        columns,
        tuple(
            (evaluation.variant, tuple(row.get(column) for column in columns))
            for evaluation, row in zip(evaluations, means, strict=True)
        ),
    )


def _means(evaluation: Evaluation) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = {}
    for score in evaluation.scores:
        values.setdefault((score.skill, score.metric), []).append(score.score)
    return {column: sum(scores) / len(scores) for column, scores in values.items()}


def _shown(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.3f}"
