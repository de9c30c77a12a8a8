"""Stage `card`: the record, the model card and the evidence of a candidate, promoted or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.evaluate import comparison
from pipeline.facts import digest_file, read_json
from pipeline.params import Params, load_params
from pipeline.recipe import load_recipe
from pipeline.release import build_record, write_bundle
from pipeline.sources import artifact_digest, folder_digests
from pipeline.stages.gate import variant_evaluations
from pipeline.stages.judge import latency
from pipeline.stages.workspace import BUILD, ENVIRONMENT, EVALS, GOLDEN, HASHES, all_pins


def run(candidate: str) -> None:
    """Write build/CANDIDATE/release/."""
    params, folder = load_params(), BUILD / candidate
    scores = score_files(params, candidate)
    quantization = read_json(folder / "quantize.json")
    skipped = "skipped" in quantization
    record = build_record(
        name=params.name,
        candidate=candidate,
        recipe=load_recipe(params.recipe(candidate)),
        base=params.base,
        experts=params.experts,
        pins=all_pins(params, candidate),
        merged_digest=artifact_digest(folder / "merged", HASHES),
        quantized_files=None if skipped else folder_digests(folder / "quantized", HASHES),
        golden=read_json(GOLDEN)["digests"],
        samples={name: digest_file(path) for name, path in scores.items()},
        verdict=read_json(folder / "verdict.json"),
        comparison=comparison(list(variant_evaluations(params, folder).values())),
        seed=params.seed,
        versions=read_json(ENVIRONMENT),
        domains=params.domains,
        quantization=quantization,
        latency=latency(candidate),
        refused=refused(folder),
        measured=read_json(folder / "diagnosis.json")["rationale"],
    )
    write_bundle(folder / "release", record, evidence(folder, scores))


def score_files(params: Params, candidate: str) -> dict[str, Path]:
    """The per-sample scores of every variant that was judged, by variant."""
    ours = BUILD / candidate / "evals"
    files = {name: EVALS / f"{name}.samples.jsonl" for name in ("base", *params.experts, "plain")}
    files["merged"] = ours / "merged.samples.jsonl"
    if "skipped" not in read_json(BUILD / candidate / "quantize.json"):
        files["quantized"] = ours / "quantized.samples.jsonl"
    return files


def evidence(folder: Path, scores: dict[str, Path]) -> dict[str, Path]:
    """What the verdict was computed from, by its path in the release folder."""
    files = {
        name: folder / name
        for name in (
            "compat.json",
            "diagnosis.json",
            "heatmap.png",
            "verdict.json",
            "comparison.csv",
            "latency.json",
            "quantize.json",
        )
    }
    files["merge.json"] = folder / "merged" / "merge.json"
    for name, path in scores.items():
        files[f"evals/{path.name}"] = path
        files[f"evals/{name}.json"] = path.with_name(f"{name}.json")
    return files


def refused(folder: Path) -> dict[str, Any]:
    """Plain task arithmetic, where the policy refuses it. Refused candidates are runs in the registry."""
    verdict = read_json(folder / "plain.verdict.json")
    return {} if verdict["outcome"] == "promote" else {"plain task arithmetic": verdict}
