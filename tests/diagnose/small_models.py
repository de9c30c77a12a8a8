"""Small Llama checkpoints and LoRA adapters as files, and their diagnosis from recipes given as keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pipeline.diagnose import Diagnosis, diagnose
from pipeline.recipe import parse_recipe
from pipeline.sources import open_source

HIDDEN, INNER, ROWS, LAYERS = 24, 40, 32, 2
Tensors = dict[str, Tensor]


def shapes(layers: int = LAYERS) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (ROWS, HIDDEN)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        found |= {f"{at}self_attn.{p}_proj.weight": (HIDDEN, HIDDEN) for p in "qkvo"}
        found |= {f"{at}mlp.{p}_proj.weight": (INNER, HIDDEN) for p in ("gate", "up")}
        found[f"{at}mlp.down_proj.weight"] = (HIDDEN, INNER)
        found[f"{at}input_layernorm.weight"] = (HIDDEN,)
    return found | {"model.norm.weight": (HIDDEN,), "lm_head.weight": (ROWS, HIDDEN)}


def randoms(seed: int, scale: float = 1.0, layers: int = LAYERS) -> Tensors:
    """Gaussian tensors of those shapes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator).mul_(scale)
        for name, shape in shapes(layers).items()
    }


def plus(base: Mapping[str, Tensor], *deltas: Mapping[str, Tensor]) -> Tensors:
    """Base plus the deltas, tensor by tensor; a tensor that a delta lacks stays."""
    return {
        name: sum((delta[name] for delta in deltas if name in delta), start=value.clone())
        for name, value in base.items()
    }


def only(tensors: Mapping[str, Tensor], keep: Callable[[str], bool]) -> Tensors:
    """The tensors whose name `keep` accepts."""
    return {name: value for name, value in tensors.items() if keep(name)}


def write_model(name: str, tensors: Mapping[str, Tensor], layers: int = LAYERS) -> None:
    """A model folder in the working directory."""
    folder = Path(name)
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": layers,
        "vocab_size": ROWS,
        "tie_word_embeddings": False,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_lora(name: str, modules: Sequence[str], seed: int, r: int = 4, **more: Any) -> Tensors:
    """An adapter folder; returns the exact deltas by the names of the base's tensors."""
    generator = torch.Generator().manual_seed(seed)
    stored: Tensors = {}
    deltas: Tensors = {}
    for module in modules:
        out, into = shapes()[f"{module}.weight"]
        a, b = (torch.randn(shape, generator=generator) * 0.1 for shape in ((r, into), (out, r)))
        stored[f"base_model.model.{module}.lora_A.weight"] = a
        stored[f"base_model.model.{module}.lora_B.weight"] = b
        deltas[f"{module}.weight"] = 2 * b @ a
    folder = Path(name)
    folder.mkdir()
    save_file(stored, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "base",
        "r": r,
        "lora_alpha": 2 * r,
        "target_modules": sorted({module.rsplit(".", 1)[1] for module in modules}),
    }
    (folder / "adapter_config.json").write_text(json.dumps({**config, **more}))
    return deltas


def diagnosed(threads: int | None = None, progress: Any = None, **keys: Any) -> Diagnosis:
    """The diagnosis of a recipe given as keys; a model given as text has weight 1 where the method wants one."""
    if "models" in keys:
        weighed = keys["merge_method"] not in ("slerp", "passthrough")
        more = {"parameters": {"weight": 1}} if weighed else {}
        keys["models"] = [{"model": m, **more} if isinstance(m, str) else m for m in keys["models"]]
    recipe = parse_recipe(keys, "recipe.yaml")
    sources = {reference: open_source(reference) for reference in recipe.references()}
    return diagnose(recipe, sources, threads=threads, progress=progress)
