"""Stage `judge`: the verdict on the merged weights, before anything is spent on quantization."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gates import Policy
from gates.recompute import (
    CHAMPION_FILE,
    LATENCY,
    LEDGER,
    Stored,
    artifact_verdict,
    names_champion,
    read_absent,
    read_latency,
    read_ledger,
)
from gates.rule import CHAMPION
from pipeline.facts import read_evaluation, read_json, write_json
from pipeline.params import Params, load_params
from pipeline.sources import artifact_digest
from pipeline.stages.workspace import BUILD, EVALS, HASHES


def run(candidate: str) -> None:
    """Write build/CANDIDATE/merged.verdict.json. A refusal is a result, not a failure of the stage."""
    stored = evidence(load_params(), candidate, quantized=False)
    verdict = artifact_verdict(stored, "merged")
    write_json(BUILD / candidate / "merged.verdict.json", verdict.to_json())


def evidence(params: Params, candidate: str, *, quantized: bool) -> Stored:
    """What the verdict on a candidate rests on, from build/; the release folder gets the same files.

    `quantized`: with the artifact that ships, where there is one. The day is asked for once, so that
    no release is judged on two.
    """
    folder = BUILD / candidate
    artifacts = ["merged"]
    if quantized and was_quantized(candidate):
        artifacts.append("quantized")
    scores = {name: read_evaluation(folder / "evals" / f"{name}.json") for name in artifacts}
    return Stored(
        policy=_policy(params),
        evaluations={name: read_evaluation(p) for name, p in reference_files(params).items()}
        | scores,
        experts=tuple(params.experts),
        registered={name: artifact_digest(folder / name, HASHES) for name in artifacts},
        latency=latency(candidate),
        day=datetime.now(UTC).date(),
        ledger=read_ledger(folder / LEDGER),
        absent=read_absent(BUILD / CHAMPION_FILE) if names_champion(_policy(params)) else {},
    )


def reference_files(params: Params) -> dict[str, Path]:
    """The evaluations that a candidate is compared with: base, experts, plain task arithmetic.

    And the champion, where the policy names it and its evaluation is of the model that is champion
    now; where it is not, the gate cannot judge.
    """
    files = {name: EVALS / f"{name}.json" for name in ("base", *params.experts, "plain")}
    if names_champion(_policy(params)) and _is_of_the_champion(EVALS / f"{CHAMPION}.json"):
        files[CHAMPION] = EVALS / f"{CHAMPION}.json"
    return files


def _is_of_the_champion(scores: Path) -> bool:
    stated = BUILD / CHAMPION_FILE
    if not (scores.is_file() and stated.is_file()):
        return False
    digest = read_json(stated).get("digest")
    return bool(digest) and read_json(scores).get("model_digest") == digest


def _policy(params: Params) -> Policy:
    return Policy.parse(params.policy, "params.yaml: policy")


def was_quantized(candidate: str) -> bool:
    """Whether there is an artifact that could ship: a refused merge has none."""
    return "skipped" not in read_json(BUILD / candidate / "quantize.json")


def latency(candidate: str) -> Mapping[str, Any] | None:
    """The measured latency; None where the stage had nothing to compare with."""
    return read_latency(BUILD / candidate / LATENCY)
