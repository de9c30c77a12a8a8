"""Loading a model from its folder, and what it says when it always takes the likeliest token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.evaluate.runtime import device


def load_model(folder: Path) -> Any:
    """The model in `folder`, in evaluation mode on `device()`; never from a pickle."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    return model.to(device()).eval()


def generate(model: Any, prompt: Any, **lengths: int) -> Any:
    """The greedy continuation of `prompt`, with it: both int64 tensors [1, tokens].

    `lengths` are max_new_tokens and min_new_tokens, as transformers takes them.
    """
    import torch

    with torch.inference_mode():
        return model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            **lengths,
        )
