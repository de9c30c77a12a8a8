"""Stage `gate`: judge the bytes that would ship as the merge was judged, and say the final verdict."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

from gates import Verdict
from gates.recompute import POLICY, plain_verdict, release_verdict
from gates.table import check_table
from pipeline.errors import InputError
from pipeline.evaluate import Table, comparison
from pipeline.facts import write_json, write_text
from pipeline.params import Params, load_params
from pipeline.stages.judge import evidence
from pipeline.stages.workspace import BUILD


def run(candidate: str) -> None:
    """Write build/CANDIDATE/verdict.json, plain.verdict.json, policy.json, comparison.csv, and for DVC
    metrics.json and plots/.
    """
    params, folder = load_params(), BUILD / candidate
    stored = evidence(params, candidate, quantized=True)
    table = comparison(list(stored.evaluations.values()))
    findings = check_table(_cells(table), tuple(stored.evaluations), params.evaluate.skills)
    if faults := [finding.message for finding in findings if finding.blocks]:
        raise InputError.of(faults)
    verdict = release_verdict(stored)
    write_json(folder / "verdict.json", verdict.to_json())
    write_json(folder / "plain.verdict.json", plain_verdict(stored).to_json())
    write_text(folder / POLICY, policy_text(params))
    write_text(folder / "comparison.csv", table.to_csv())
    write_json(folder / "metrics.json", _metrics(verdict, table))
    _write_plots(folder / "plots", table)


def policy_text(params: Params) -> str:
    """The policy as params.yaml has it, days as text, for `Policy.parse` to read again.

    Unsorted: the order of the rules is that of the verdict, and part of the policy's digest.
    """
    policy = json.dumps(params.policy, indent=2, ensure_ascii=False, allow_nan=False, default=_day)
    return policy + "\n"


def _day(value: Any) -> str:
    if not isinstance(value, date):
        raise TypeError(f"{value!r} has no place in JSON")
    return value.isoformat()


def _metrics(verdict: Verdict, table: Table) -> dict[str, Any]:
    """Promoted as 1 or 0 and the candidate's means, for `dvc metrics show` and `dvc metrics diff`."""
    means = table.to_dict()
    metrics: dict[str, Any] = {"promoted": int(verdict.outcome == "promote")}
    for variant in ("merged", "quantized"):
        if variant in means:
            metrics[variant] = means[variant]
    return metrics


def _cells(table: Table) -> list[dict[str, Any]]:
    """The table as one row of variant, skill, metric and mean for each of its cells."""
    return [
        {"variant": variant, "skill": skill, "metric": metric, "mean": mean}
        for variant, means in table.rows
        for (skill, metric), mean in zip(table.columns, means, strict=True)
    ]


def _write_plots(folder: Path, table: Table) -> None:
    """One file of variant and mean for each skill's metric: DVC draws one bar chart from each file."""
    for skill, metric in table.columns:
        means = {variant: row[f"{skill}/{metric}"] for variant, row in table.to_dict().items()}
        lines = ["variant,mean", *(f"{variant},{mean}" for variant, mean in means.items())]
        write_text(folder / f"{skill}-{metric}.csv", "\n".join(lines) + "\n")
