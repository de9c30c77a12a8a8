"""A family of random models to time merges on: a base, fine-tunes near it, and LoRA adapters of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

_SHARD_TENSORS = 60
# Weights and differences as trained models have them: 0.02 and about a twentieth of that.
_SCALE, _STEP = 0.02, 1e-3
LORA_RANK = 16


@dataclass(frozen=True)
class Size:
    """A Llama model in shapes; `parameters` counts its weights."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    vocabulary: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every tensor by name."""
        keys = self.hidden // self.heads * self.key_heads
        found: dict[str, tuple[int, ...]] = {
            "model.embed_tokens.weight": (self.vocabulary, self.hidden),
            "model.norm.weight": (self.hidden,),
            "lm_head.weight": (self.vocabulary, self.hidden),
        }
        for layer in range(self.layers):
            at = f"model.layers.{layer}."
            found |= {
                f"{at}self_attn.q_proj.weight": (self.hidden, self.hidden),
                f"{at}self_attn.k_proj.weight": (keys, self.hidden),
                f"{at}self_attn.v_proj.weight": (keys, self.hidden),
                f"{at}self_attn.o_proj.weight": (self.hidden, self.hidden),
                f"{at}mlp.gate_proj.weight": (self.inner, self.hidden),
                f"{at}mlp.up_proj.weight": (self.inner, self.hidden),
                f"{at}mlp.down_proj.weight": (self.hidden, self.inner),
                f"{at}input_layernorm.weight": (self.hidden,),
                f"{at}post_attention_layernorm.weight": (self.hidden,),
            }
        return found

    def config(self) -> dict[str, object]:
        """config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": False,
            "dtype": "bfloat16",
        }


# 1.1b has the shapes of TinyLlama; the others double the layers or halve the width.
SIZES = {
    "tiny": Size(64, 128, 2, 4, 4, 256),
    "0.1b": Size(1024, 2816, 6, 16, 2, 32000),
    "0.3b": Size(1024, 2816, 22, 16, 2, 32000),
    "0.6b": Size(2048, 5632, 11, 32, 4, 32000),
    "1.1b": Size(2048, 5632, 22, 32, 4, 32000),
    "2.1b": Size(2048, 5632, 44, 32, 4, 32000),
}


def build(folder: Path, size: Size, experts: int) -> None:
    """Write base, ft0, ft1, ... and lora0, lora1, ... into `folder`, unless they are there."""
    if (folder / "whole").exists():
        return
    _write_model(folder / "base", size, None)
    for index in range(experts):
        _write_model(folder / f"ft{index}", size, index)
        _write_adapter(folder / f"lora{index}", folder / "base", size, index)
    (folder / "whole").touch()


def _write_model(folder: Path, size: Size, expert: int | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(size.config()))
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(size.vocabulary)))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    names = sorted(size.shapes())
    groups = [names[i : i + _SHARD_TENSORS] for i in range(0, len(names), _SHARD_TENSORS)]
    weight_map = {}
    for index, group in enumerate(groups):
        file = f"model-{index + 1:05}-of-{len(groups):05}.safetensors"
        tensors = {name: _tensor(name, size.shapes()[name], expert) for name in group}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(group, file)
    index_file = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_file))


def _tokenizer(vocabulary: int) -> dict[str, object]:
    """tokenizer.json of one word per id."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {f"w{token}": token for token in range(vocabulary)},
            "unk_token": "w0",
        },
    }


def _tensor(name: str, shape: tuple[int, ...], expert: int | None) -> Tensor:
    base = _noise(f"base {name}", shape) * _SCALE
    if expert is not None:
        base += _noise(f"{expert} {name}", shape) * _STEP
    return base.bfloat16()


def _noise(what: str, shape: tuple[int, ...]) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(what.encode()).digest()[:4], "little")
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator)


def _write_adapter(folder: Path, base: Path, size: Size, expert: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    modules = [n.removesuffix(".weight") for n in size.shapes() if n.endswith("_proj.weight")]
    tensors = {}
    for module in modules:
        rows, columns = size.shapes()[f"{module}.weight"]
        at = f"base_model.model.{module}"
        tensors[f"{at}.lora_A.weight"] = _noise(f"a{expert} {module}", (LORA_RANK, columns)) * 0.01
        tensors[f"{at}.lora_B.weight"] = _noise(f"b{expert} {module}", (rows, LORA_RANK)) * 0.01
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": LORA_RANK,
        "lora_alpha": 2 * LORA_RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({module.rpartition(".")[2] for module in modules}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
