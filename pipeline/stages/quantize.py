"""Stage `quantize`: the artifact that ships, calibrated on the merged weights; nothing for a refused merge."""

from __future__ import annotations

from dataclasses import asdict

from pipeline.facts import read_json, write_json, write_text
from pipeline.params import load_params
from pipeline.quantize.calibration import CALIBRATION, Calibration
from pipeline.stages.latency import prompts
from pipeline.stages.workspace import BUILD


def run(candidate: str) -> None:
    """Write build/CANDIDATE/quantized/, quantize.json, and in calibration.jsonl what it was calibrated on."""
    params, folder = load_params(), BUILD / candidate
    verdict = read_json(folder / "merged.verdict.json")
    if verdict["outcome"] != "promote":
        reason = f"the merge was not promoted: {verdict['sentence']}"
        write_text(folder / "quantized" / "SKIPPED.md", f"Not quantized: {reason}\n")
        write_json(folder / "quantize.json", {"skipped": reason})
        write_text(folder / CALIBRATION, "")
        return
    from pipeline.quantize import quantize

    q, system = params.quantize, params.evaluate.system
    used = prompts(params, "tune", q.calibration_samples)
    report = quantize(
        folder / "merged",
        folder / "quantized",
        scheme=q.scheme,
        algorithm=q.algorithm,
        group_size=q.group_size,
        prompts=used,
        system=system,
        seed=params.seed,
    )
    write_text(folder / CALIBRATION, Calibration.of(q.algorithm, system, used).text)
    write_json(folder / "quantize.json", asdict(report))
