"""A model with random weights and words for tokens, an adapter for it, and a skill of a few questions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

WORDS = ("order", "ticket", "refund", "ship", "late", "warm", "cold", "yes", "no", "queue")
SPECIAL = ("<pad>", "<system>", "<user>", "<assistant>", "<end>", "<unk>")
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TASK = """
task: words
output_type: generate_until
dataset_path: json
test_split: test
doc_to_text: "{{prompt}}"
doc_to_target: "{{target | tojson}}"
process_results: !function metrics.process_results
metric_list:
  - {metric: length, aggregation: mean, higher_is_better: true}
  - {metric: keys, aggregation: mean, higher_is_better: true}
"""
METRICS = """
def process_results(doc, results):
    return {"length": len(results[0]), "keys": len(doc["target"])}
"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer with a vocabulary of 16 words and 96 positions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("models") / "base"
    tokenizer = _tokenizer()
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=96,
        initializer_range=0.6,  # wide, so that answers differ from prompt to prompt
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(model: Path) -> Path:
    """A LoRA adapter for `model`, far from zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(2)
    config = LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"])
    peft = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    peft.save_pretrained(model.parent / "adapter")
    return model.parent / "adapter"


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task YAML with its metric code; it scores the answer's length and the target's keys."""
    folder = tmp_path / "evals" / "words"
    folder.mkdir(parents=True)
    (folder / "metrics.py").write_text(METRICS)
    (folder / "words.yaml").write_text(TASK)
    return folder / "words.yaml"


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Six rows whose targets are objects with different keys."""
    return [
        {
            "id": f"words-{i:04d}",
            "prompt": " ".join(WORDS[i : i + 3 + i % 3]),
            "target": dict.fromkeys(WORDS[: i + 1], i),
        }
        for i in range(6)
    ]


@pytest.fixture
def golden(tmp_path: Path, rows: Sequence[Mapping[str, Any]], write_rows: Any) -> Path:
    """`rows` as a golden set."""
    path: Path = write_rows(tmp_path / "words.jsonl", rows)
    return path


@pytest.fixture
def write_rows() -> Callable[[Path, Sequence[Any]], Path]:
    """Write rows as JSON Lines."""

    def write(path: Path, rows: Sequence[Any]) -> Path:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<unk>",
        additional_special_tokens=["<system>", "<user>", "<assistant>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
