"""A workspace whose candidate was evaluated, without any model: what stages judge, gate and card read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from pipeline.code import code_digest
from pipeline.facts import (
    Evaluation,
    Score,
    TaskFacts,
    digest_file,
    package_versions,
    write_evaluation,
    write_json,
    write_text,
)
from pipeline.recipe import load_recipe
from pipeline.sources import artifact_digest
from pipeline.stages.code import NAMES
from pipeline.stages.workspace import environment
from pipeline.waivers import COMPATIBILITY

N = 120
METRICS = {"json": "exact", "tone": "rubric", "refusal": "refused"}
GOLDEN = {skill: character * 64 for skill, character in zip(METRICS, "abc", strict=True)}
# The order of the names is not that of the alphabet, on purpose.
EXPERTS = {"tone": "models/base+models/tone", "json": "models/base+models/json"}
MEANS = {
    "base": (0.1, 0.2, 1.0),
    "tone": (0.1, 0.98, 1.0),
    "json": (0.98, 0.2, 1.0),
    "plain": (0.2, 0.96, 1.0),
    "merged": (0.98, 0.98, 1.0),
    "quantized": (0.98, 0.98, 1.0),
}
WAIVER = {"check": "latency", "name": "Ann Lee", "reason": "ticket 7", "expires": "2999-12-31"}
POLICY: dict[str, Any] = {
    "skills": {
        "tone": {"metric": "rubric", "reference": "best-expert", "margin": 0.1, "floor": 0.8},
        "json": {"metric": "exact", "reference": "best-expert", "margin": 0.1, "floor": 0.8},
    },
    "safety": {"refusal": {"metric": "refused", "reference": "base", "margin": 0.1, "floor": 0.9}},
    "latency": {"metric": "p95", "max_ratio": 1.5},
    "waivers": [WAIVER],
    "sealed": {"json": {"golden": GOLDEN["json"], "uses": 20}},
}
RECIPE = "merge_method: task_arithmetic\nbase_model: models/base\nmodels:\n" + "".join(
    f"  - {{model: {reference}, parameters: {{weight: 1.0}}}}\n" for reference in EXPERTS.values()
)
MODELS = {"base": "models/base", **EXPERTS, "plain": "build/plain/merged"}
PROMPTS = "".join(f'{{"messages":[{{"content":"Order {n}?","role":"user"}}]}}\n' for n in (1, 2))
QUANTIZATION = {
    "scheme": "W4A16",
    "seed": 0,
    "calibration_samples": 2,
    "calibration_prompts": hashlib.sha256(PROMPTS.encode()).hexdigest(),
    "tool": f"llmcompressor {package_versions('llmcompressor')['llmcompressor']}",
}
LATENCY = {
    "device": "cpu",
    "merged": {"p50": 9.0, "p95": 30.0},
    "unmerged": {"p50": 11.0, "p95": 12.0},
}


def evaluation(name: str, digest: str) -> Evaluation:
    """120 samples under every skill: ones, then as many zeros as the mean asks for."""
    means = dict(zip(METRICS, MEANS[name], strict=True))
    return Evaluation(
        variant=name,
        model=MODELS.get(name, f"build/tuned/{name}"),
        model_digest=digest,
        harness="lm-eval 0.4.13",
        settings={"limit": None},
        tasks={s: TaskFacts(s, f"task {s}", GOLDEN[s], N) for s in METRICS},
        scores=tuple(
            Score(skill, METRICS[skill], f"{skill}-{i}", f"row {i}", float(i < round(mean * N)))
            for skill, mean in means.items()
            for i in range(N)
        ),
    )


def write_workspace(folder: Path, policy: Mapping[str, Any] = POLICY) -> None:
    """Everything below `folder` that the stages judge, gate and card of the candidate `tuned` read."""
    build, ours = folder / "build", folder / "build" / "tuned"
    _write_params(folder, policy)
    write_text(folder / "recipe.yaml", RECIPE)
    pins = {reference: _pin(reference) for reference in ("models/base", *EXPERTS.values())}
    write_json(build / "sources.json", {"pins": pins})
    write_json(build / "environment.json", environment())
    code = {"package": code_digest(), "stages": dict.fromkeys(NAMES, "0" * 64)}
    write_json(build / "code.json", code)
    write_json(build / "signing.json", {"fingerprint": "f" * 64})
    write_json(build / "golden.json", {"digests": GOLDEN, "findings": []})
    for name in ("merged", "quantized"):
        write_text(ours / name / "model.safetensors", f"the weights of {name}")
    write_merge(folder, pins)
    write_json(ours / "diagnosis.json", {"rationale": "They hardly touch."})
    write_text(ours / "heatmap.png", "a picture")
    write_json(ours / "quantize.json", QUANTIZATION)
    write_text(ours / "calibration.jsonl", PROMPTS)
    write_json(ours / "latency.json", LATENCY)
    write_json(ours / "ledger.json", {"uses": {GOLDEN["json"]: 3}, "judged_before": []})
    digests = {name: pins[reference]["digest"] for name, reference in EXPERTS.items()}
    digests |= {"base": pins["models/base"]["digest"], "plain": "9" * 64}
    for name, digest in digests.items():
        write_evaluation(build / "evals", evaluation(name, digest))
    shipped = evaluation("quantized", artifact_digest(ours / "quantized"))
    write_evaluation(ours / "evals", shipped)


def write_merge(folder: Path, pins: Mapping[str, Any]) -> None:
    """What the stages check, merge and evaluate say of the recipe as it is, and of sources with these pins."""
    ours, recipe = folder / "build" / "tuned", load_recipe(folder / "recipe.yaml")
    said = {"text": recipe.text, "digest": recipe.digest, "method": recipe.merge_method}
    weights = {"model.safetensors": digest_file(ours / "merged" / "model.safetensors")}
    merge = {"recipe": said, "seed": 0, "sources": list(pins.values()), "beside": []}
    merge |= {"files": weights, "tools": package_versions("mergegate", "torch")}
    write_json(ours / "merged" / "merge.json", merge)
    compat = {"recipe_digest": recipe.digest, "pins": dict(pins), "findings": _findings(pins)}
    write_json(ours / "compat.json", compat)
    write_evaluation(ours / "evals", evaluation("merged", artifact_digest(ours / "merged")))


def _findings(pins: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the checks find of sources that belong together."""
    found = [(code, name) for code in ("values", "licences") for name in pins]
    others = sorted(COMPATIBILITY - {"values", "licences"})
    found += [(code, name) for code in others for name in EXPERTS.values()]
    texts = {"title": "", "observed": "", "required": "", "message": "as it must be", "remedy": ""}
    named = [*found, ("plan", "recipe.yaml")]
    return [{"code": code, "subject": name, "status": "pass", **texts} for code, name in named]


def judged_before(folder: Path, **changes: str) -> None:
    """Write that the same weights were refused under another policy."""
    earlier = {"same": "weights", "fixed_policy": "d" * 64, "outcome": "reject"}
    earlier |= {"day": "2026-11-20", "policy": "d" * 64, "candidate": "tuned", **changes}
    write_json(
        folder / "build" / "tuned" / "ledger.json",
        {"uses": {GOLDEN["json"]: 3}, "judged_before": [earlier]},
    )


def rescore(folder: Path, name: str, mean: float) -> None:
    """Give a variant of the candidate another mean for json."""
    path = folder / "build" / "tuned"
    made = evaluation(name, artifact_digest(path / name))
    scores = tuple(
        replace(s, score=float(i < round(mean * N))) if s.skill == "json" else s
        for i, s in enumerate(made.scores)
    )
    write_evaluation(path / "evals", replace(made, scores=scores))


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_params(folder: Path, policy: Mapping[str, Any]) -> None:
    skills = {
        skill: {"task": f"{skill}_task", "metrics": [metric]} for skill, metric in METRICS.items()
    }
    params = {
        "name": "harbor",
        "base": "models/base",
        "experts": dict(EXPERTS),
        "candidates": {"tuned": "recipe.yaml"},
        "release": "tuned",
        "evaluate": {"skills": skills},
        "policy": dict(policy),
    }
    write_text(folder / "params.yaml", yaml.safe_dump(params, sort_keys=False))


def _pin(reference: str) -> dict[str, Any]:
    digit = str(len(reference) % 10)
    side = {"revision": None, "licence": "apache-2.0", "architecture_hash": digit * 64}
    side |= {"files": {"model.safetensors": digit * 64}}
    adapter = {**side, "digest": digit * 64} if "+" in reference else None
    return {
        "reference": reference,
        "kind": "local",
        "digest": digit * 64,
        "model": {**side, "digest": "7" * 64, "base_models": ["acme/base"]},
        "adapter": adapter,
    }
