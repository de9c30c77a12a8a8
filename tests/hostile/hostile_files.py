"""A tiny model and a tiny adapter as files, whole unless a test breaks them, and the command in this process."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HIDDEN, INNER, ROWS, LAYERS = 8, 12, 16, 2
Q0 = "model.layers.0.self_attn.q_proj"
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS,
    "vocab_size": ROWS,
    "tie_word_embeddings": True,
    "eos_token_id": 1,
}
Values = Mapping[str, tuple[list[int], list[float]]]


def shapes() -> dict[str, list[int]]:
    """Names and shapes of the tensors of the tiny model."""
    found = {"model.embed_tokens.weight": [ROWS, HIDDEN], "model.norm.weight": [HIDDEN]}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {f"{at}self_attn.{p}_proj.weight": [HIDDEN, HIDDEN] for p in "qkvo"}
        found |= {f"{at}mlp.{p}_proj.weight": [INNER, HIDDEN] for p in ("gate", "up")}
        found[f"{at}mlp.down_proj.weight"] = [HIDDEN, INNER]
        found |= {f"{at}{n}_layernorm.weight": [HIDDEN] for n in ("input", "post_attention")}
    return found


def values(seed: int = 0, **others: list[int]) -> dict[str, tuple[list[int], list[float]]]:
    """The tensors of the tiny model: one set of weights, moved a little by the seed."""
    base, moved = random.Random(1), random.Random(seed)
    return {
        name: (shape, [base.gauss(0, 1) + 0.1 * moved.gauss(0, 1) for _ in range(_count(shape))])
        for name, shape in {**shapes(), **others}.items()
    }


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header, as bytes or as JSON values, that claims to be `length` long."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[Any], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def safetensors(tensors: Values) -> bytes:
    """A good file of float32 tensors."""
    header, data = {}, b""
    for name, (shape, numbers) in tensors.items():
        packed = struct.pack(f"<{len(numbers)}f", *numbers)
        header[name] = entry(shape, len(data), len(data) + len(packed))
        data += packed
    return raw(header, data)


def model(folder: Path, seed: int = 0, tensors: Values | None = None, **config: Any) -> Path:
    """A model folder, with a tokenizer of words."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "model.safetensors").write_bytes(safetensors(tensors or values(seed)))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    return folder


def adapter(folder: Path, tensors: Values | None = None, **config: Any) -> Path:
    """An adapter folder of rank 1 over the first layer's q_proj."""
    folder.mkdir(parents=True)
    settings = {
        "peft_type": "LORA",
        "r": 1,
        "lora_alpha": 2,
        "base_model_name_or_path": "base",
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors or factors(Q0)))
    return folder


def factors(module: str, out: int = HIDDEN, into: int = HIDDEN, rank: int = 1) -> Values:
    """The two factors of a LoRA module, as an adapter stores them."""
    at = f"base_model.model.{module}"
    return {
        f"{at}.lora_A.weight": ([rank, into], [0.1] * rank * into),
        f"{at}.lora_B.weight": ([out, rank], [0.1] * rank * out),
    }


def tokenizer() -> dict[str, Any]:
    """tokenizer.json of ROWS words."""
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {f"w{i}": i for i in range(ROWS)},
            "unk_token": "w0",
        },
    }


def index(folder: Path, weight_map: Any) -> Path:
    """Make the model folder one of shards: its one file is the only shard, its index says `weight_map`."""
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    text = json.dumps({"weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(text)
    return folder


def _count(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count
