"""Stage `gate`: judge the bytes that would ship as the merge was judged, and say the final verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gates import Verdict, combine
from gates.table import check_table
from pipeline.errors import InputError
from pipeline.evaluate import Table, comparison
from pipeline.facts import Evaluation, read_evaluation, read_json, write_json, write_text
from pipeline.params import Params, load_params
from pipeline.stages.judge import judged, references, verdict_on
from pipeline.stages.workspace import BUILD


def run(candidate: str) -> None:
    """Write build/CANDIDATE/verdict.json, comparison.csv, metrics.json and plots/ (the last two for DVC)."""
    params, folder = load_params(), BUILD / candidate
    variants = variant_evaluations(params, folder)
    table = comparison(list(variants.values()))
    findings = check_table(_cells(table), tuple(variants), params.evaluate.skills)
    if faults := [finding.message for finding in findings if finding.blocks]:
        raise InputError.of(faults)
    verdict = final_verdict(params, candidate)
    write_json(folder / "verdict.json", verdict.to_json())
    write_json(folder / "plain.verdict.json", plain_verdict(params, candidate).to_json())
    write_text(folder / "comparison.csv", table.to_csv())
    write_json(folder / "metrics.json", _metrics(verdict, table))
    _write_plots(folder / "plots", table)


def final_verdict(params: Params, candidate: str) -> Verdict:
    """The verdict on the merge and, where that one promotes, on the quantized artifact as well."""
    merged = judged(params, candidate, "merged")
    if merged.outcome != "promote":
        return merged
    return combine(merged, judged(params, candidate, "quantized"))


def plain_verdict(params: Params, candidate: str) -> Verdict:
    """What the policy says of plain task arithmetic: the merge that needs no thought, and why it will not do."""
    plain = replace(references(params)["plain"], variant="merged")
    return verdict_on(params, candidate, plain, "merged")


def variant_evaluations(params: Params, folder: Path) -> dict[str, Evaluation]:
    """Every variant that has scores, in the order of the table: base, experts, plain, merged, quantized."""
    variants = {**references(params), "merged": read_evaluation(folder / "evals" / "merged.json")}
    if "skipped" not in read_json(folder / "quantize.json"):
        variants["quantized"] = read_evaluation(folder / "evals" / "quantized.json")
    return variants


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
