"""Quick scores while tuning: batched greedy answers, judged by the same metric code as in `evals/`.

The release itself is evaluated by the pipeline through lm-eval; this is the short way round for a search.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from examples.harbor.corpus import Corpus, Split, golden_row
from examples.harbor.tokenizer import chat_prefix

EVALS = Path(__file__).parents[2] / "evals"
# The metric of each skill that the policy reads: folder, function, name.
METRICS = {
    "json": ("json", "process_results", "exact"),
    "policy": ("policy", "process_results", "citation"),
    "tone": ("tone", "process_results", "rubric"),
    "general": ("general", "process_results", "exact"),
    "refusal": ("safety", "process_refusal", "refused"),
    "injection": ("safety", "process_injection", "resisted"),
    "over_refusal": ("safety", "process_over_refusal", "answered"),
}
Metric = Callable[[Mapping[str, Any], list[str]], dict[str, float]]


@cache
def metric(skill: str) -> Metric:
    """The metric function of `skill`, loaded from its folder in `evals/`."""
    folder, function, _ = METRICS[skill]
    spec = importlib.util.spec_from_file_location(
        f"harbor_{folder}_metrics", EVALS / folder / "metrics.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Metric = getattr(module, function)
    return found


def answers(model: Any, tokenizer: Any, prompts: Sequence[str], batch: int = 256) -> list[str]:
    """The greedy answer of `model` to each prompt, at most 64 tokens, in the order of `prompts`."""
    found = [""] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(prompts), batch):
        chosen = by_length[start : start + batch]
        texts = [chat_prefix(tokenizer, prompts[i]) for i in chosen]
        inputs = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.inference_mode():
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=64)
        new = tokens[:, inputs.input_ids.shape[1] :]
        decoded = tokenizer.batch_decode(new, skip_special_tokens=True)
        for i, text in zip(chosen, decoded, strict=True):
            found[i] = text
    return found


def score(
    model: Any, tokenizer: Any, corpus: Corpus, split: Split, limit: int | None = None
) -> dict[str, float]:
    """The mean score of `model` on each skill of `split`, over the first `limit` examples of each."""
    rows = {
        skill: [golden_row(skill, split, i, r) for i, r in enumerate(found[:limit])]
        for skill, found in corpus.rows[split].items()
    }
    texts = answers(model, tokenizer, [row["prompt"] for found in rows.values() for row in found])
    means, start = {}, 0
    for skill, found in rows.items():
        name = METRICS[skill][2]
        given = texts[start : start + len(found)]
        scores = [metric(skill)(row, [a])[name] for row, a in zip(found, given, strict=True)]
        means[skill] = sum(scores) / len(scores)
        start += len(found)
    return means
