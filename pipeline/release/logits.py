"""Logits of a probe, kept when a set is registered and compared when it is rehearsed.

Greedy text hides small changes until one of them turns a token; logits show them at once. Of the
last POSITIONS positions of the prompt the TOP highest logits are kept, with their token ids.

How far they may differ is counted in standard deviations of the logits of that position over the
vocabulary, since logits of one model range over 40 and of another over 0.1. Measured on x86-64 with
torch 2.13 (a trained model of 1 million parameters, random ones of 100 and 600 million, each with
an adapter): 0 between one and two threads; 2e-6 (float32) and 0.03 (bfloat16) between instruction
sets (AVX-512, AVX2, none); 0.04 between bfloat16 and float32. So the limits are tight where library
versions, processor and accelerator are those of the recording, and wider elsewhere.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

POSITIONS, TOP = 4, 8
SAME = 1e-3  # standard deviations: where all that the recording names is as it was
ELSEWHERE = {"float32": 1e-2, "float64": 1e-2}
ELSEWHERE_HALF = 0.25  # of dtypes with 11 bits of precision or fewer
_LIBRARIES = ("torch", "transformers", "peft")

Recorded = list[dict[str, Any]]


@dataclass(frozen=True)
class Drift:
    """How far logits are from those recorded, and how far they may be, in standard deviations."""

    largest: float
    allowed: float
    elsewhere: tuple[str, ...]  # what differs from the machine of the recording

    @property
    def within(self) -> bool:
        """Whether the logits agree; NaN does not."""
        return self.largest <= self.allowed


def taken_with(model: Any) -> dict[str, Any]:
    """What logits depend on besides weights and prompt: the hardware class, libraries, dtype."""
    import torch

    cuda = range(torch.cuda.device_count()) if model.device.type == "cuda" else ()
    return {
        "dtype": str(model.dtype).removeprefix("torch."),
        "machine": platform.machine(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "accelerators": [torch.cuda.get_device_name(number) for number in cuda],
        **{name: version(name) for name in _LIBRARIES},
    }


def last_logits(model: Any, ids: Sequence[int]) -> Any:
    """float32 [positions, vocabulary]: the logits of the last POSITIONS tokens of one prompt."""
    import torch

    prompt = torch.tensor([list(ids)], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=prompt, attention_mask=torch.ones_like(prompt)).logits
    return logits[0, -POSITIONS:].float().cpu()


def recorded(logits: Any) -> Recorded:
    """What is kept of [positions, vocabulary]: for each position ids, values (highest first), spread.

    `spread` is the standard deviation over the vocabulary. Numbers are the shortest decimals that
    give the same float32.
    """
    top = logits.topk(min(TOP, logits.shape[-1]))
    spreads = logits.std(-1, correction=0)
    return [
        {"ids": ids.tolist(), "values": _decimals(values), "spread": _decimals(spread[None])[0]}
        for ids, values, spread in zip(top.indices, top.values, spreads, strict=True)
    ]


def drift(logits: Any, before: Recorded, taken: Mapping[str, Any], now: Mapping[str, Any]) -> Drift:
    """How far `logits` [positions, vocabulary] are from the recording `before`.

    Compared are the logits of the recorded ids, and the highest logits whichever their ids, so that
    an id that rose above them counts as well. `taken`, `now`: what `taken_with` gave then and gives
    now.
    """
    elsewhere = tuple(sorted(key for key in {*taken, *now} if taken.get(key) != now.get(key)))
    half = {str(taken.get("dtype")), str(now.get("dtype"))} - ELSEWHERE.keys()
    wide = ELSEWHERE_HALF if half else max(ELSEWHERE.values())
    if len(before) != len(logits):
        return Drift(float("inf"), wide if elsewhere else SAME, elsewhere)
    apart = [_apart(row, position) for row, position in zip(logits, before, strict=True)]
    # max() passes over NaN where it does not come first.
    largest = float("nan") if any(a != a for a in apart) else max(apart)
    return Drift(largest, wide if elsewhere else SAME, elsewhere)


def _apart(row: Any, position: Mapping[str, Any]) -> float:
    import torch

    ids, values = position["ids"], torch.tensor(position["values"])
    if max(ids) >= len(row):
        return float("inf")
    by_id = (row[torch.tensor(ids)] - values).abs().max()
    by_rank = (row.topk(len(ids)).values - values).abs().max()
    # A position where all logits are equal has no spread; then any difference counts in full.
    return float(torch.maximum(by_id, by_rank)) / (position["spread"] or 1.0)


def _decimals(values: Any) -> list[float]:
    return [float(str(value)) for value in values.numpy()]
