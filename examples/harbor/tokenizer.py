"""The tokenizer of the family: byte-level BPE of 1,024 tokens, and its chat template."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from examples.harbor.world import SYSTEM

VOCABULARY = 1024
PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# The same roles and order with a line break after each role: a template that looks equal and is not.
OTHER_TEMPLATE = TEMPLATE.replace("|>{{ m['content']", "|>\n{{ m['content']").replace(
    "<|assistant|>{% endif", "<|assistant|>\n{% endif"
)


def train_tokenizer(texts: Iterable[str]) -> Any:
    """A fast tokenizer trained on `texts`, with the special tokens and the chat template in place."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=list(ROLES),
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def chat_prefix(tokenizer: Any, prompt: str) -> str:
    """The text of system message and `prompt`, up to where the answer begins."""
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text
