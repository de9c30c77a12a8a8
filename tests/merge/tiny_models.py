"""Tiny Llama models as plain values, and merging them from recipes given as keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.merge import MergeReport, merge
from pipeline.recipe import Recipe, parse_recipe
from pipeline.sources import open_source

HIDDEN, INNER, HEADS, LAYERS, ROWS = 16, 24, 2, 3, 32
TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"


def shapes(rows: int = ROWS, layers: int = LAYERS, tied: bool = True) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a tiny Llama model."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (rows, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        found |= {f"{at}self_attn.{p}_proj.weight": (HIDDEN, HIDDEN) for p in "qkvo"}
        found |= {f"{at}mlp.{p}_proj.weight": (INNER, HIDDEN) for p in ("gate", "up")}
        found[f"{at}mlp.down_proj.weight"] = (HIDDEN, INNER)
        found |= {f"{at}{n}_layernorm.weight": (HIDDEN,) for n in ("input", "post_attention")}
    found["model.norm.weight"] = (HIDDEN,)
    if not tied:
        found["lm_head.weight"] = (rows, HIDDEN)
    return found


def config(rows: int, layers: int, tied: bool, dtype: torch.dtype) -> dict[str, Any]:
    """config.json of the same."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS,
        "num_hidden_layers": layers,
        "vocab_size": rows,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "dtype": str(dtype).removeprefix("torch."),
    }


def tokenizer(tokens: list[str]) -> dict[str, Any]:
    """tokenizer.json of a word-level tokenizer whose ids are the places in `tokens`."""
    vocabulary = {token: index for index, token in enumerate(tokens) if not token.startswith("<")}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": index, "content": token, **flags, "special": True}
            for index, token in enumerate(tokens)
            if token.startswith("<")
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "w0"},
    }


def recipe_of(**keys: Any) -> Recipe:
    """A recipe from its keys; a model given as text stands for `{model: text}`."""
    if "models" in keys:
        keys["models"] = [{"model": m} if isinstance(m, str) else m for m in keys["models"]]
    return parse_recipe(keys, "recipe.yaml")


def run(
    out: str = "out", /, *, options: Mapping[str, Any] | None = None, **keys: Any
) -> MergeReport:
    """Merge by a recipe given as keys into the folder `out`."""
    recipe = recipe_of(**keys)
    sources = {reference: open_source(reference) for reference in recipe.references()}
    return merge(recipe, sources, Path(out), **(options or {}))


def merged(out: str = "out", /, **keys: Any) -> dict[str, Tensor]:
    """As `run`, and the tensors of the output."""
    run(out, **keys)
    return weights(out)


def weights(folder: str) -> dict[str, Tensor]:
    """All tensors of a model folder."""
    found: dict[str, Tensor] = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        found |= load_file(path)
    return found


def contents(folder: str) -> dict[str, bytes]:
    """Every file of a folder by its path there."""
    root = Path(folder)
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
