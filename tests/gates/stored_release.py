"""A stored release that is promoted: evaluation files, policy, latency, and what else was stated."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from gate_cases import EXPERTS, GOOD, POLICY, attributed, evaluation, references, with_task

from gates import Policy, Verdict, judge_release
from pipeline.facts import (
    Evaluation,
    canonical_json,
    digest_file,
    read_evaluation,
    write_evaluation,
    write_json,
)

N = 60
GOLDEN = "a" * 64
VARIANTS = ("merged", "base", *EXPERTS, "plain", "champion")
SKILLS = ("json", "tone", "general", "refusal")
LATENCY = {"merged": {"p50": 9.0, "p95": 30.0}, "unmerged": {"p50": 11.0, "p95": 12.0}}
WAIVER = {"check": "latency", "name": "Ann Lee", "reason": "ticket 7", "expires": "2026-06-30"}


def policy() -> dict[str, Any]:
    """Every key that a policy may have, with margins that 60 samples can show."""
    found = copy.deepcopy(POLICY)
    found["waivers"] = [dict(WAIVER)]
    found["sealed"] = {"json": {"golden": GOLDEN, "uses": 20}}
    found["safety"]["refusal"] |= {"margin": 0.2, "range": [0, 1], "direction": "higher"}
    found["skills"]["general"] |= {"margin": 0.2, "alpha": 0.04}
    found["skills"]["tone"] |= {"margin": 0.5}
    found["skills"]["json"] |= {
        "margin": 0.4,
        "range": [0, 1],
        "direction": "higher",
        "floor": 0.7,
        "cluster": "document",
        "slices": {"language": {"margin": 0.7, "floor": 0.6, "min": 20, "only": ["de", "en"]}},
        "also": {"champion": {"margin": 0.4}, "plain": {"margin": 0.5}},
    }
    return found


def fields(i: int) -> dict[str, str]:
    """Five questions on each of twelve documents, six documents in each language."""
    return {"document": f"d{i // 5:02d}", "language": "de" if i < N // 2 else "en"}


def evaluations() -> Iterator[Evaluation]:
    """The candidate, base, experts, plain arithmetic and the champion."""
    given = {
        "merged": evaluation("merged", GOOD, N),
        **references(N),
        "champion": evaluation("champion", GOOD, N),
    }
    seal, mark = with_task("json", golden_digest=GOLDEN), attributed("json", fields)
    for name, one in given.items():
        settings = {**one.settings, "max_new_tokens": 96, "prompts_digest": "prompts"}
        yield replace(seal(mark(one)), variant=name, settings=settings)


def store(folder: Path) -> None:
    """Write the whole release into `folder`."""
    for one in evaluations():
        write_evaluation(folder, one)
    write_json(folder / "terms.json", policy())
    write_json(folder / "latency.json", LATENCY)
    stated = {
        "experts": list(EXPERTS),
        "today": "2026-03-01",
        "absent": {},
        "uses": {GOLDEN: 5},
        "fixed_policy": Policy.parse(load(folder, "terms.json")).fixed_digest,
        "registered": "sha256-of-merged",
    }
    write_json(folder / "stated.json", stated)


def load(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def judge(folder: Path) -> Verdict:
    """The verdict on the files of a folder, read as any program would read them."""
    stated = load(folder, "stated.json")
    return judge_release(
        Policy.parse(load(folder, "terms.json")),
        read_evaluation(folder / "merged.json"),
        {name: read_evaluation(folder / f"{name}.json") for name in VARIANTS[1:]},
        stated.pop("experts"),
        latency=load(folder, "latency.json"),
        today=date.fromisoformat(stated.pop("today")),
        artifact="merged",
        **stated,
    )


def told(verdict: Verdict) -> str:
    """All that a verdict says, as the bytes that are stored."""
    return canonical_json(verdict.to_json())


def samples(folder: Path, variant: str) -> list[dict[str, Any]]:
    lines = (folder / f"{variant}.samples.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_samples(
    folder: Path, variant: str, rows: list[dict[str, Any]], *, hide: bool = True
) -> None:
    """Replace the rows; `hide` also the digest that VARIANT.json holds of them."""
    path = folder / f"{variant}.samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if hide:
        head = load(folder, f"{variant}.json")
        head["samples"]["sha256"] = digest_file(path)
        write_json(folder / f"{variant}.json", head)
