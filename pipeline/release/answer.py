"""The answers of a set of models: the base with one adapter after another, or full fine-tunes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluate.chat import token_ids
from pipeline.evaluate.generation import generate, load_model
from pipeline.evaluate.runtime import quiet, repeatable
from pipeline.release.logits import last_logits, taken_with


@dataclass(frozen=True)
class Reply:
    """A greedy answer, and the logits at the end of its prompt."""

    text: str
    logits: Any  # float32 [positions, vocabulary], see `last_logits`
    taken: Mapping[str, Any]  # see `taken_with`


def replies(
    base: Path,
    experts: Mapping[str, Path],
    kinds: Mapping[str, str],
    *,
    system: str,
    prompts: Mapping[str, str],
    max_new_tokens: int,
) -> dict[str, Reply]:
    """Each expert's reply to its prompt; an expert without a prompt is loaded all the same.

    `kinds` says of each expert whether its folder is an `adapter` over `base` or a `model`. The
    base is loaded once and its weights stay as they are.
    """
    from transformers import AutoTokenizer

    found: dict[str, Reply] = {}
    with quiet(), repeatable(seed=0):
        adapted: Any = None
        for name, folder in experts.items():
            if kinds[name] == "model":
                model, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)
            else:
                model = adapted = _adapt(adapted or load_model(base), folder, name)
                tokenizer = AutoTokenizer.from_pretrained(base)
            if name in prompts:
                ids = token_ids(tokenizer, system, prompts[name])
                found[name] = _reply(model, tokenizer, ids, max_new_tokens)
    return found


def reply(folder: Path, *, system: str, prompt: str, max_new_tokens: int) -> Reply:
    """The reply of the model in `folder`, quantized or not."""
    from transformers import AutoTokenizer

    with quiet(), repeatable(seed=0):
        model, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)
        return _reply(model, tokenizer, token_ids(tokenizer, system, prompt), max_new_tokens)


def _adapt(model: Any, folder: Path, name: str) -> Any:
    """`model`, bare or with adapters already, with the adapter in `folder` active and no other."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return PeftModel.from_pretrained(model, folder, adapter_name=name).eval()
    model.load_adapter(folder, adapter_name=name)
    model.set_adapter(name)
    return model.eval()


def _reply(model: Any, tokenizer: Any, ids: list[int], max_new_tokens: int) -> Reply:
    import torch

    prompt = torch.tensor([ids], device=model.device)
    answer = generate(model, prompt, max_new_tokens=max_new_tokens)
    text = str(tokenizer.decode(answer[0, len(ids) :], skip_special_tokens=True)).strip()
    return Reply(text, last_logits(model, ids), taken_with(model))
