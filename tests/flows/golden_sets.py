"""Golden sets and model folders that a preflight passes, for workspaces whose models are never read."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

SAMPLES = 100


def write_golden_sets(workspace: Path) -> None:
    """For each skill of params.yaml a test split of SAMPLES rows and a tune split of one."""
    evaluate = yaml.safe_load((workspace / "params.yaml").read_text())["evaluate"]
    for skill in evaluate["skills"]:
        for split, count in (("test", SAMPLES), ("tune", 1)):
            write_rows(
                workspace / evaluate["golden"] / split / f"{skill}.jsonl",
                [row(f"{split} {skill}", number) for number in range(count)],
            )


def make_model_folders(workspace: Path) -> None:
    """An empty folder for the base and for each adapter of params.yaml."""
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    references = [params["base"], *(expert["source"] for expert in params["experts"].values())]
    for part in (part for reference in references for part in reference.split("+")):
        (workspace / part).mkdir(parents=True, exist_ok=True)


def row(name: str, number: int) -> dict[str, object]:
    """One golden row."""
    text = f"{name} {number}"
    return {"id": text, "prompt": f"{text}?", "target": "yes", "category": "one"}


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """The rows as JSON Lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
