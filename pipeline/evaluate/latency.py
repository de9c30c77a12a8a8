"""How long generation takes: the merged checkpoint against the base with an adapter that is not merged."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.evaluate.chat import token_ids
from pipeline.evaluate.generation import generate, load_model
from pipeline.evaluate.runtime import device, quiet, repeatable
from pipeline.progress import meter

# Longer answers only scale both times alike.
NEW_TOKENS = 24


def measure_latency(
    merged: Path,
    base: Path,
    adapter: Path,
    prompts: Sequence[str],
    *,
    system: str,
    max_new_tokens: int,
    repeats: int = 3,
) -> dict[str, Any]:
    """P50 and P95 over prompts of the time to generate, in milliseconds, for both, and merged /
    unmerged ratios.

    Each prompt alone (batch of 1), greedy, exactly min(max_new_tokens, NEW_TOKENS) tokens, so that
    a model that says more is not called slow. The two take turns, first one then the other going
    first; the time of a prompt is the least of its `repeats`, which leaves out what else the
    machine was doing. One warm-up of each is dropped. Raises InputError without prompts.
    """
    if not prompts:
        raise InputError("Latency needs at least one prompt. Add golden sets to the tune split.")
    count = min(max_new_tokens, NEW_TOKENS)
    with quiet(), repeatable(seed=0):
        pair = (_load(merged, None), _load(base, adapter))
        inputs = [[_encode(one, system, prompt) for one in pair] for prompt in prompts]
        for (model, _), ids in zip(pair, inputs[0], strict=True):
            _time(model, ids, count)
        times = _alternate(pair, inputs, count, repeats)
    fast, slow = (_percentiles([min(prompt[side]) for prompt in times]) for side in (0, 1))
    return {
        "merged": fast,
        "unmerged": slow,
        "ratio": {key: fast[key] / slow[key] for key in fast},
        "unit": "ms",
        "prompts": len(prompts),
        "repeats": repeats,
        "new_tokens": count,
        "device": device(),
    }


def _alternate(
    pair: tuple[Any, Any], inputs: Sequence[Sequence[Any]], count: int, repeats: int
) -> list[tuple[list[float], list[float]]]:
    """Times by prompt: (merged, unmerged), each one per repeat."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in inputs]
    with meter("latency", repeats * len(inputs), "prompts") as advance:
        for repeat in range(repeats):
            for i, ids in enumerate(inputs):
                for side in (0, 1) if (repeat + i) % 2 == 0 else (1, 0):
                    times[i][side].append(_time(pair[side][0], ids[side], count))
                advance()
    return times


def _load(folder: Path, adapter: Path | None) -> tuple[Any, Any]:
    """(model in evaluation mode, tokenizer)."""
    from transformers import AutoTokenizer

    model = load_model(folder)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).to(device()).eval()
    return model, AutoTokenizer.from_pretrained(folder)


def _encode(loaded: tuple[Any, Any], system: str, prompt: str) -> Any:
    """int64 tensor [1, tokens] on the model's device."""
    import torch

    model, tokenizer = loaded
    return torch.tensor([token_ids(tokenizer, system, prompt)], device=model.device)


def _time(model: Any, ids: Any, count: int) -> float:
    """Milliseconds to generate `count` tokens after `ids`."""
    start = time.perf_counter()
    answer = generate(model, ids, min_new_tokens=count, max_new_tokens=count)
    answer[0, -1].item()  # waits for an accelerator, which works asynchronously
    return (time.perf_counter() - start) * 1000


def _percentiles(times: Sequence[float]) -> dict[str, float]:
    import numpy

    p50, p95 = numpy.percentile(times, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3)}
