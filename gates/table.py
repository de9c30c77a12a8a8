"""The comparison table is whole: every variant under every metric, once, with a number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from gates.expectations import Expectation, findings
from pipeline.facts import Finding

_AGAIN = "Evaluate the variants again and rebuild the table."
_COLUMNS = ("variant", "skill", "metric", "mean")


class Measured(Protocol):
    """A skill, as far as the table is concerned: something with metrics."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics under which every variant must have a mean."""


def check_table(
    rows: Iterable[Mapping[str, Any]], variants: Sequence[str], skills: Mapping[str, Measured]
) -> list[Finding]:
    """Check that rows of variant, skill, metric and mean are those that must be there."""
    import pandas as pd

    wanted = {
        f"{variant}: {skill}/{metric}"
        for variant in variants
        for skill, measured in skills.items()
        for metric in measured.metrics
    }
    records = [_record(row) for row in rows]
    frame = pd.DataFrame(records, columns=["cell", "mean_is"], dtype=object)
    return findings("comparison table", frame, _expectations(sorted(wanted)), names="cell")


def _record(row: Mapping[str, Any]) -> dict[str, str]:
    """Its cell, and whether its mean is a number: as texts, since NaN passes for nothing."""
    variant, skill, metric, mean = (row.get(column) for column in _COLUMNS)
    number = isinstance(mean, int | float) and not isinstance(mean, bool) and math.isfinite(mean)
    return {
        "cell": f"{variant}: {skill}/{metric}",
        "mean_is": "a finite number" if number else repr(mean),
    }


def _expectations(wanted: list[str]) -> list[Expectation]:
    return [
        Expectation(
            code="table-size",
            title="The table has all its rows",
            kind="ExpectTableRowCountToEqual",
            arguments={"value": len(wanted)},
            required=f"{len(wanted)} rows are needed: each variant under each metric, once",
            remedy=_AGAIN,
        ),
        Expectation(
            code="table-not-empty",
            title="The table is not empty",
            kind="ExpectTableRowCountToBeBetween",
            arguments={"min_value": 1},
            required="a comparison needs a row or more",
            remedy="Name variants, skills and metrics in params.yaml.",
        ),
        Expectation(
            code="table-cells",
            title="Every variant has every metric",
            kind="ExpectColumnDistinctValuesToEqualSet",
            arguments={"column": "cell", "value_set": wanted},
            required="each variant needs a mean under each metric of each skill",
            remedy=_AGAIN,
        ),
        Expectation(
            code="table-once",
            title="No cell occurs twice",
            kind="ExpectColumnValuesToBeUnique",
            arguments={"column": "cell"},
            required="a variant has one mean under a metric",
            remedy=_AGAIN,
        ),
        Expectation(
            code="table-means",
            title="Every mean is a number",
            kind="ExpectColumnValuesToBeInSet",
            arguments={"column": "mean_is", "value_set": ["a finite number"]},
            required="every mean must be a finite number",
            remedy=_AGAIN,
        ),
    ]
