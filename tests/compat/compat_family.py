"""A tiny real family: a Llama with a tokenizer and a chat template, adapters and relatives of it."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.compat import run_checks
from pipeline.facts import Finding
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"]


def save_tokenizer(folder: Path, extra: list[str] | None = None, template: str = TEMPLATE) -> None:
    """A byte-level BPE with the family's special tokens, and `extra` ones after them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL, *alphabet]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[:3],
    )
    if extra:
        fast.add_tokens(extra)
    fast.chat_template = template
    fast.save_pretrained(folder)


def save_model(folder: Path, seed: int = 0, **config: Any) -> Path:
    """A two-layer Llama with random weights, its tokenizer, and a card that states apache-2.0."""
    from transformers import LlamaConfig, LlamaForCausalLM

    settings = {
        "vocab_size": 261,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    }
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**{**settings, **config})).save_pretrained(folder)
    save_tokenizer(folder)
    state_licence(folder, "apache-2.0")
    return folder


def save_adapter(folder: Path, base: Path, **settings: Any) -> Path:
    """A LoRA over q_proj that names `base` and changes something."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base)
        lora = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, **settings)
        get_peft_model(model, lora).save_pretrained(folder)
    return folder


def state_licence(folder: Path, licence: str) -> None:
    (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")


def copy(folder: Path, name: str) -> Path:
    """A copy beside `folder`."""
    return Path(shutil.copytree(folder, folder.parent / name))


def edit_config(folder: Path, file: str = "config.json", **fields: Any) -> Path:
    """The folder, with fields of a JSON file set."""
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **fields}))
    return folder


def edit_weights(folder: Path, change: Mapping[str, Any], file: str = "model.safetensors") -> Path:
    """The folder, with `change[name]` (a function of the tensor, or None to drop it) applied."""
    weights = load_file(folder / file)
    for name, function in change.items():
        tensor = weights.pop(name)
        if function is not None:
            weights[name] = function(tensor).contiguous()
    save_file(weights, folder / file, {"format": "pt"})
    return folder


def finetuned(base: Path, name: str, step: float = 0.001) -> Path:
    """A full fine-tune of `base`, as far as weights tell: each has moved a little."""
    torch.manual_seed(2)
    names = load_file(base / "model.safetensors")
    moved = {n: lambda w: w + step * torch.randn_like(w) for n in names}
    return edit_weights(copy(base, name), moved)


def findings(base: Path | None, *models: str | Path, **recipe: Any) -> list[Finding]:
    """All findings on a recipe of these models over `base`; a source's name is its text."""
    mapping: dict[str, Any] = {"merge_method": "linear", **recipe}
    if "slices" not in recipe:
        mapping["models"] = [{"model": str(m), "parameters": {"weight": 1}} for m in models]
    if base:
        mapping["base_model"] = str(base)
    parsed = parse_recipe(mapping, "recipe.yaml")
    sources = {str(r): open_source(r) for r in parsed.references()}
    return run_checks(parsed, sources)


def found(code: str, *arguments: Any, **settings: Any) -> Finding:
    """The only finding of one check."""
    (finding,) = [f for f in findings(*arguments, **settings) if f.code == code]
    return finding


def blocking(*arguments: Any, **settings: Any) -> dict[str, Finding]:
    """Findings that block, by code."""
    return {f.code: f for f in findings(*arguments, **settings) if f.blocks}
