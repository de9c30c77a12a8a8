"""Stage `card`: the signed release folder of a candidate, promoted or refused."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gates import Policy
from gates.recompute import CHAMPION_FILE, LATENCY, LEDGER, POLICY, names_champion
from pipeline.evaluate import comparison
from pipeline.facts import digest_file, digest_of, read_evaluation, read_json
from pipeline.params import Params, load_params
from pipeline.quantize import CALIBRATION
from pipeline.recipe import load_recipe
from pipeline.release import build_record, write_bundle
from pipeline.release.machine import describe_machine
from pipeline.report import examples_of
from pipeline.sources import folder_digests
from pipeline.stages.judge import latency, reference_files, was_quantized
from pipeline.stages.workspace import BUILD, CODE, ENVIRONMENT, GOLDEN, HASHES, all_pins


def run(candidate: str) -> None:
    """Write build/CANDIDATE/release/."""
    params, folder = load_params(), BUILD / candidate
    scores = score_files(params, candidate)
    quantized = was_quantized(candidate)
    merged_files = folder_digests(folder / "merged", HASHES)
    record = build_record(
        name=params.name,
        candidate=candidate,
        recipe=load_recipe(params.recipe(candidate)),
        base=params.base,
        experts=params.experts,
        pins=all_pins(params, candidate),
        merged_digest=digest_of(merged_files),
        merged_files=merged_files,
        quantized_files=folder_digests(folder / "quantized", HASHES) if quantized else None,
        golden=read_json(GOLDEN)["digests"],
        samples={name: digest_file(path) for name, path in scores.items()},
        verdict=read_json(folder / "verdict.json"),
        comparison=comparison([read_evaluation(_head(path)) for path in scores.values()]),
        seed=params.seed,
        versions={**read_json(ENVIRONMENT), "code": read_json(CODE)["package"]},
        tasks=tasks(scores["merged"]),
        environment=describe_machine(),
        domains=params.domains,
        quantization=read_json(folder / "quantize.json"),
        latency=latency(candidate),
        refused=refused(folder),
        measured=read_json(folder / "diagnosis.json")["rationale"],
    )
    shown = examples_of(params, candidate)
    write_bundle(folder / "release", record, evidence(params, folder, scores), examples=shown)


def tasks(samples: Path) -> dict[str, Any]:
    """What each skill's scores depend on besides the model: task, golden set, samples."""
    facts = read_evaluation(_head(samples)).tasks
    return {skill: asdict(task) for skill, task in facts.items()}


def score_files(params: Params, candidate: str) -> dict[str, Path]:
    """The per-sample scores of every variant that was judged, by variant."""
    ours = BUILD / candidate / "evals"
    heads = reference_files(params)
    files = {name: path.with_name(f"{name}.samples.jsonl") for name, path in heads.items()}
    files["merged"] = ours / "merged.samples.jsonl"
    if was_quantized(candidate):
        files["quantized"] = ours / "quantized.samples.jsonl"
    return files


def evidence(params: Params, folder: Path, scores: dict[str, Path]) -> dict[str, Path]:
    """What the verdict was computed from, by its path in the release folder; see `gates.recompute`."""
    names = ["compat.json", "diagnosis.json", "heatmap.png", "verdict.json", "plain.verdict.json"]
    names += ["comparison.csv", "quantize.json", CALIBRATION, POLICY, LATENCY]
    if (folder / LEDGER).is_file():  # `dvc repro` alone asks no registry
        names.append(LEDGER)
    files = {name: folder / name for name in names}
    compared = names_champion(Policy.parse(params.policy, "params.yaml: policy"))
    if compared and (BUILD / CHAMPION_FILE).is_file():
        files[CHAMPION_FILE] = BUILD / CHAMPION_FILE
    files["merge.json"] = folder / "merged" / "merge.json"
    for path in scores.values():
        files[f"evals/{path.name}"] = path
        files[f"evals/{_head(path).name}"] = _head(path)
    return files


def _head(samples: Path) -> Path:
    """VARIANT.json beside VARIANT.samples.jsonl."""
    return samples.with_name(samples.name.replace(".samples.jsonl", ".json"))


def refused(folder: Path) -> dict[str, Any]:
    """Plain task arithmetic, where the policy refuses it. Refused candidates are runs in the registry."""
    verdict = read_json(folder / "plain.verdict.json")
    return {} if verdict["outcome"] == "promote" else {"plain task arithmetic": verdict}
