"""Training on one thread: the base from nothing, adapters with PEFT, and full fine-tunes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from examples.harbor.corpus import Turn
from examples.harbor.tokenizer import chat_prefix

BATCH = 16
PROMPT_WEIGHT = 0.15  # of the loss on prompt tokens; at 0 the copying of slots does not emerge
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
Encoded = tuple[list[int], int, int]  # token ids, where the user's message begins, and the answer


@dataclass(frozen=True)
class Schedule:
    """Steps of BATCH examples, and the peak learning rate (linear warm-up, then cosine to a tenth)."""

    steps: int
    rate: float

    @property
    def examples(self) -> int:
        """How many examples one pass takes."""
        return self.steps * BATCH

    def rate_at(self, step: int) -> float:
        """The learning rate of `step`, in [0, steps)."""
        warm_up = max(1, self.steps // 20)
        if step < warm_up:
            return self.rate * (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.steps - warm_up)
        return self.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


BASE = Schedule(steps=1400, rate=3.5e-3)
ADAPTER = Schedule(steps=140, rate=4e-3)
FINE_TUNE = Schedule(steps=40, rate=4e-4)


def new_base(tokenizer: Any, seed: int) -> Any:
    """An untrained Llama of 0.8 million float32 parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=2,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def with_adapter(base: Any, rank: int, alpha: int, seed: int) -> Any:
    """`base` frozen under a fresh LoRA adapter on all linear layers."""
    torch.manual_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(TARGETS), task_type="CAUSAL_LM"
    )
    return get_peft_model(base, config)


def encode(tokenizer: Any, turns: Sequence[Turn]) -> list[Encoded]:
    """Token ids of each turn: rendered prompt, answer, end of answer."""
    prefix = chat_prefix(tokenizer, "\x00").split("\x00")  # rendered once: the template is slow
    prompts = _ids(tokenizer, [p.join(prefix) for p, _ in turns])
    answers = _ids(tokenizer, [a + tokenizer.eos_token for _, a in turns])
    fixed = len(_ids(tokenizer, [prefix[0]])[0])
    return [(p + a, fixed, len(p)) for p, a in zip(prompts, answers, strict=True)]


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in found]


def train(
    model: Any,
    encoded: list[Encoded],
    schedule: Schedule,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> float:
    """Train `model` in place, once over `encoded`, calling `advance` after each step.

    Returns the mean loss of the last tenth of the steps.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, betas=(0.9, 0.95), weight_decay=0.01, fused=True)
    model.train()
    losses = []
    for step, batch in enumerate(batches(encoded, Random(seed))):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        loss = weighted_loss(model, *batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        advance()
    model.eval()
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def batches(encoded: list[Encoded], rng: Random) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and loss weights, each [BATCH, longest], in random order; lengths are alike within a batch."""
    order = rng.sample(encoded, len(encoded))
    window = 40 * BATCH
    grouped = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window], key=lambda e: len(e[0]))
        found = [near[i : i + BATCH] for i in range(0, len(near), BATCH)]
        grouped += rng.sample(found, len(found))
    return (_padded(batch) for batch in grouped)


def _padded(batch: list[Encoded]) -> tuple[Tensor, Tensor]:
    # Padding is on the right, where a causal model cannot see it: no attention mask is needed.
    longest = max(len(ids) for ids, *_ in batch)
    tokens = torch.zeros(len(batch), longest, dtype=torch.long)
    weights = torch.zeros(len(batch), longest)
    for row, (ids, prompt, answer) in enumerate(batch):
        tokens[row, : len(ids)] = torch.tensor(ids)
        weights[row, prompt:answer] = PROMPT_WEIGHT
        weights[row, answer : len(ids)] = 1.0
    return tokens, weights


def weighted_loss(model: Any, tokens: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of the next token, averaged by the weight of the token that is predicted.

    `tokens` and `weights` are [batch, length]. Logits are formed only where a weight asks for them.
    """
    llama = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = llama.model(input_ids=tokens, use_cache=False).last_hidden_state[:, :-1]
    wanted = weights[:, 1:] > 0
    losses = torch.nn.functional.cross_entropy(
        llama.lm_head(hidden[wanted]), tokens[:, 1:][wanted], reduction="none"
    )
    asked = weights[:, 1:][wanted]
    return (losses * asked).sum() / asked.sum()
