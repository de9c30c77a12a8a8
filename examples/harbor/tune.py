"""Search the weights of the tuned recipe on the tune split: `python -m examples.harbor.tune`. About five minutes.

Every point of a grid of weights is merged by the pipeline and scored. The point chosen is not the best one but the one
whose whole neighbourhood keeps the policy: its weakest neighbour has the most slack, so that another seed of the
training, or quantization, does not push it over the edge. The test split is never read.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging

from examples.harbor.build import HERE
from examples.harbor.corpus import Corpus
from examples.harbor.score import score
from pipeline.merge import merge
from pipeline.progress import bars
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source

EXPERTS = ("tone", "json", "policy")
GRID = (0.4, 0.55, 0.75, 0.9)
DENSITY = 0.8
Weights = tuple[float, ...]  # one per expert
Scores = dict[str, float]  # by skill, in the metric's own units


def main() -> None:
    """Read the command line, search, and print the best points and the recipe."""
    parser = argparse.ArgumentParser(description="Search the weights of the tuned recipe.")
    parser.add_argument("--models", type=Path, default=HERE / "models")
    parser.add_argument(
        "--limit", type=int, help="examples per skill; all of the tune split by default"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    judge = Judge(chosen.models, chosen.limit)
    slacks = {weights: judge.slack(scores) for weights, scores in search(judge)}
    ranked = sorted(slacks, key=lambda weights: robust(weights, slacks), reverse=True)
    table = Table(*EXPERTS, "slack", "weakest neighbour")
    for weights in ranked[:8]:
        cells = (*weights, slacks[weights], robust(weights, slacks))
        table.add_row(*(f"{cell:.2f}" for cell in cells))
    Console().print(table)
    print(yaml.safe_dump(recipe(chosen.models, ranked[0]), sort_keys=False))


class Judge:
    """Scores models on the tune split, and measures their slack against the policy of params.yaml."""

    def __init__(self, models: Path, limit: int | None = None) -> None:
        self.models, self.limit = models, limit
        self.corpus = Corpus.draw()
        self.tokenizer = AutoTokenizer.from_pretrained(models / "base")
        policy = yaml.safe_load((HERE.parents[1] / "params.yaml").read_text())["policy"]
        self.rules: dict[str, Any] = {**policy["skills"], **policy["safety"]}
        alone = [self.merged(tuple(float(e == x) for x in EXPERTS)) for e in EXPERTS]
        self.experts = {skill: max(scores[skill] for scores in alone) for skill in self.rules}
        self.base = self.merged((0.0, 0.0, 0.0))

    def merged(self, weights: Weights) -> Scores:
        """The scores of the merge with these weights."""
        parsed = parse_recipe(recipe(self.models, weights), "tune")
        sources = {reference: open_source(reference) for reference in parsed.references()}
        with tempfile.TemporaryDirectory() as folder:
            merge(parsed, sources, Path(folder) / "merged")
            model = LlamaForCausalLM.from_pretrained(Path(folder) / "merged")
        return score(model, self.tokenizer, self.corpus, "tune", self.limit)

    def slack(self, scores: Scores) -> float:
        """How far the worst skill is above what its margin allows, in margins: 1 = equal to its reference, 0 = just."""
        return min(
            (scores[skill] - self._reference(skill)) / float(rule["margin"]) + 1
            for skill, rule in self.rules.items()
        )

    def _reference(self, skill: str) -> float:
        return (self.base if self.rules[skill]["reference"] == "base" else self.experts)[skill]


def recipe(models: Path, weights: Weights) -> dict[str, Any]:
    """The recipe with these weights, in mergekit's grammar."""
    return {
        "merge_method": "ties",
        "base_model": f"{models}/base",
        "models": [
            {"model": f"{models}/base+{models}/{expert}-lora", "parameters": {"weight": weight}}
            for expert, weight in zip(EXPERTS, weights, strict=True)
        ],
        "parameters": {"density": DENSITY, "normalize": False},
        "dtype": "float32",
    }


def search(judge: Judge) -> Iterator[tuple[Weights, Scores]]:
    """Each point of the grid with its scores."""
    points = list(itertools.product(GRID, repeat=len(EXPERTS)))
    with bars() as progress:
        for weights in progress.track(points, description="weights"):
            yield weights, judge.merged(weights)


def robust(weights: Weights, slacks: dict[Weights, float]) -> float:
    """The least slack of a point and its neighbours, one step along each axis; off the grid counts as its edge."""
    steps = [
        (GRID[max(i - 1, 0)], GRID[min(i + 1, len(GRID) - 1)]) for i in map(GRID.index, weights)
    ]
    near = [(*weights[:i], w, *weights[i + 1 :]) for i, ws in enumerate(steps) for w in ws]
    return min(slacks[point] for point in (weights, *near))


if __name__ == "__main__":
    main()
