"""Stage `judge`: the verdict on the merged weights, before anything is spent on quantization."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from gates import Policy, Verdict, judge_release
from pipeline.facts import Evaluation, read_evaluation, read_json, write_json
from pipeline.params import Params, load_params
from pipeline.stages.workspace import BUILD, EVALS


def run(candidate: str) -> None:
    """Write build/CANDIDATE/merged.verdict.json. A refusal is a result, not a failure of the stage."""
    params = load_params()
    verdict = judged(params, candidate, "merged")
    write_json(BUILD / candidate / "merged.verdict.json", verdict.to_json())


def judged(params: Params, candidate: str, artifact: Literal["merged", "quantized"]) -> Verdict:
    """The verdict of the policy on one artifact of the candidate."""
    scores = read_evaluation(BUILD / candidate / "evals" / f"{artifact}.json")
    return verdict_on(params, candidate, scores, artifact)


def verdict_on(
    params: Params, candidate: str, scores: Evaluation, artifact: Literal["merged", "quantized"]
) -> Verdict:
    """The verdict of the policy on `scores`, with the latency that was measured for the candidate."""
    return judge_release(
        Policy.parse(params.policy, "params.yaml: policy"),
        scores,
        references(params),
        tuple(params.experts),
        latency=latency(candidate),
        today=datetime.now(UTC).date(),
        artifact=artifact,
    )


def references(params: Params) -> dict[str, Evaluation]:
    """The evaluations that a candidate is compared with: base, experts, plain task arithmetic."""
    names = ("base", *params.experts, "plain")
    return {name: read_evaluation(EVALS / f"{name}.json") for name in names}


def latency(candidate: str) -> Mapping[str, Any] | None:
    """The measured latency; None where the stage had nothing to compare with."""
    report: Mapping[str, Any] = read_json(BUILD / candidate / "latency.json")
    return None if "skipped" in report else report
