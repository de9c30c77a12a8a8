"""The table of variants: a row for each metric of each skill, a column for each variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.checks import directions
from pipeline.report.lenient import entries, part
from pipeline.report.wording import mean

CANDIDATE = ("merged", "quantized")


def variants_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """{variants: [{name, ours}], rows: [{skill, metric, judged, cells: [{text, best}]}]}.

    The best of a row is marked where the policy says which direction is better, ties and all; not
    where all variants are equal, which tells nothing.
    """
    stored = part(record, "comparison")
    columns = [(str(c[0]), str(c[1])) for c in stored.get("columns") or () if len(c) == 2]
    rows = [(str(name), list(means)) for name, means in stored.get("rows") or ()]
    better = directions(entries(record, "verdict", "rows"))
    return {
        "variants": [{"name": name, "ours": name in CANDIDATE} for name, _ in rows],
        "rows": [
            {
                "skill": column[0],
                "metric": column[1],
                "judged": column in better,
                "cells": _cells([means[place] for _, means in rows], better.get(column, "")),
            }
            for place, column in enumerate(columns)
        ],
    }


def _cells(means: Sequence[float | None], better: str) -> list[dict[str, Any]]:
    known = {one for one in means if one is not None}
    best = (max if better == "higher" else min)(known) if better and len(known) > 1 else None
    return [{"text": mean(one), "best": one is not None and one == best} for one in means]
