"""Great Expectations behind one function: a suite over a data frame, each expectation a finding.

It passes on no rows, on NaN, and on a suite without expectations, and an expectation that raises
is one result among others. So `findings` demands as many results as expectations were written, and
callers state the number of rows that they expect.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.facts import Finding

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 3  # offending values that a message names


@dataclass(frozen=True)
class Expectation:
    """One expectation of Great Expectations, and the words for it when it fails."""

    code: str  # of the finding: stable, for waivers and search
    title: str
    kind: str  # the class in great_expectations.expectations
    arguments: dict[str, Any]
    required: str
    remedy: str


def findings(
    subject: str, frame: pd.DataFrame, expectations: Sequence[Expectation], *, names: str
) -> list[Finding]:
    """One finding for each expectation, in their order, plus one where not all of them ran.

    `names` is the column whose values tell a person which row is meant. Takes some 5 s the first
    time in a process, for the import, and milliseconds after that.
    """
    results = _run(subject, frame, expectations)
    found = [
        _finding(subject, frame, expectation, results[number], names)
        for number, expectation in enumerate(expectations)
        if number in results
    ]
    if not expectations or len(found) != len(expectations):
        found.append(_not_all_ran(subject, len(found), len(expectations)))
    return found


def _run(
    subject: str, frame: pd.DataFrame, expectations: Sequence[Expectation]
) -> dict[int, dict[str, Any]]:
    """The results as JSON values, by the number of the expectation; what did not run is absent."""
    batch = _whole_frames().get_batch(batch_parameters={"dataframe": frame})
    import great_expectations as gx

    suite = gx.ExpectationSuite(
        name=subject,
        expectations=[
            getattr(gx.expectations, e.kind)(**e.arguments, meta={"number": number})
            for number, e in enumerate(expectations)
        ],
    )
    outcome = batch.validate(suite, result_format="COMPLETE")
    return {r.expectation_config.meta["number"]: r.to_json_dict() for r in outcome.results}


@functools.cache
def _whole_frames() -> Any:
    """Batches that are whole data frames, of a context that lives in memory only."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("mergegate").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("whole")


def _finding(
    subject: str,
    frame: pd.DataFrame,
    expectation: Expectation,
    result: dict[str, Any],
    names: str,
) -> Finding:
    passed, observed = result["success"] is True, _observed(frame, result, names)
    return Finding(
        code=expectation.code,
        title=expectation.title,
        status="pass" if passed else "fail",
        subject=subject,
        observed=observed,
        required=expectation.required,
        message=(
            f"{subject}: {expectation.required}."
            if passed
            else f"{subject}: {expectation.required}; {observed}."
        ),
        remedy="" if passed else expectation.remedy,
    )


def _observed(frame: pd.DataFrame, result: dict[str, Any], names: str) -> str:
    """What was found, naming the first rows at fault."""
    details = result["result"]
    rows = details.get("unexpected_index_list") or []
    if rows:
        shown = ", ".join(str(frame[names].iloc[row]) for row in rows[:SHOWN])
        more = ", …" if len(rows) > SHOWN else ""
        return f"{len(rows):,} of {len(frame):,} rows at fault: {shown}{more}"
    if "observed_value" in details:
        return f"found {details['observed_value']}"
    return "none at fault" if result["success"] else "that could not be computed"


def _not_all_ran(subject: str, ran: int, written: int) -> Finding:
    return Finding(
        code="expectations-ran",
        title="Every expectation ran",
        status="cannot_judge",
        subject=subject,
        observed=f"{ran} results",
        required=f"{written} results, one or more",
        message=f"{subject}: {ran} of {written} expectations ran, so nothing is shown by them.",
        remedy="Run `make install` for the tested set of packages.",
    )
