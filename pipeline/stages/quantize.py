"""Stage `quantize`: the artifact that ships, calibrated on the merged weights; nothing for a refused merge."""

from __future__ import annotations

from dataclasses import asdict

from pipeline.facts import read_json, write_json, write_text
from pipeline.params import load_params
from pipeline.stages.latency import prompts
from pipeline.stages.workspace import BUILD


def run(candidate: str) -> None:
    """Write build/CANDIDATE/quantized/ and quantize.json."""
    params, folder = load_params(), BUILD / candidate
    verdict = read_json(folder / "merged.verdict.json")
    if verdict["outcome"] != "promote":
        reason = f"the merge was not promoted: {verdict['sentence']}"
        write_text(folder / "quantized" / "SKIPPED.md", f"Not quantized: {reason}\n")
        write_json(folder / "quantize.json", {"skipped": reason})
        return
    from pipeline.quantize import quantize

    q = params.quantize
    report = quantize(
        folder / "merged",
        folder / "quantized",
        scheme=q.scheme,
        algorithm=q.algorithm,
        group_size=q.group_size,
        prompts=prompts(params, "tune", q.calibration_samples),
        system=params.evaluate.system,
        seed=params.seed,
    )
    write_json(folder / "quantize.json", asdict(report))
