"""Stage `latency`: time generation of the merge against base plus adapter. The one stage whose output varies."""

from __future__ import annotations

from pipeline.errors import InputError
from pipeline.evaluate import measure_latency
from pipeline.evaluate.golden import read_golden
from pipeline.facts import read_json, write_json
from pipeline.params import Params, load_params
from pipeline.stages.workspace import BUILD, SOURCES, open_pinned

PROMPTS = 24


def run(candidate: str) -> None:
    """Write build/CANDIDATE/latency.json: P50 and P95 in milliseconds of both, and their ratios."""
    params = load_params()
    experts = [
        open_pinned(params, text, read_json(SOURCES)["pins"]) for text in params.experts.values()
    ]
    served = next((source for source in experts if source.adapter), None)
    if served is None or served.adapter is None:
        why = "no expert is an adapter, so there is no base plus adapter to compare with"
        write_json(BUILD / candidate / "latency.json", {"skipped": why})
        return
    report = measure_latency(
        BUILD / candidate / "merged",
        served.model.folder,
        served.adapter.folder,
        prompts(params, "tune", PROMPTS),
        system=params.evaluate.system,
        max_new_tokens=params.evaluate.max_new_tokens,
    )
    write_json(BUILD / candidate / "latency.json", report)


def prompts(params: Params, split: str, count: int) -> list[str]:
    """The first `count` prompts of a split, taken from the skills in turn."""
    columns = [
        [row["prompt"] for row in read_golden(path)]
        for skill in params.evaluate.skills.values()
        if (path := skill.split(split))
    ]
    longest = max(map(len, columns), default=0)
    taken = [column[i] for i in range(longest) for column in columns if i < len(column)][:count]
    if not taken:
        raise InputError(
            f"params.yaml: evaluate.golden has no prompts in its {split} split; "
            f"latency and calibration need some. Add GOLDEN/{split}/SKILL.jsonl."
        )
    return taken
