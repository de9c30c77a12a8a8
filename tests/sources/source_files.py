"""Small files for the tests of sources, written byte by byte so that they can be wrong on purpose."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = {"model_type": "llama", "hidden_size": 2, "vocab_size": 3, "tie_word_embeddings": True}
WEIGHTS = {
    "model.embed_tokens.weight": ((3, 2), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
    "model.norm.weight": ((2,), [1.0, 1.0]),
}


def raw(header: Any, data: bytes, length: int | None = None) -> bytes:
    """The bytes of a safetensors file with this header; `length` is what it claims to be long."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    """One tensor of a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def safetensors(weights: Mapping[str, tuple[tuple[int, ...], list[float]]]) -> bytes:
    """A good file of float32 tensors."""
    header, data = {}, b""
    for name, (shape, values) in weights.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = entry(list(shape), len(data), len(data) + len(packed))
        data += packed
    return raw(header, data)


def checkpoint(folder: Path, **config: Any) -> Path:
    """A model folder with one file of weights."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    (folder / "model.safetensors").write_bytes(safetensors(WEIGHTS))
    return folder


def sharded(folder: Path, weight_map: Mapping[str, str] | None = None) -> Path:
    """A model folder with one shard per tensor, and an index that may say otherwise."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    stored = {name: f"model-{i}.safetensors" for i, name in enumerate(WEIGHTS, 1)}
    for name, file in stored.items():
        (folder / file).write_bytes(safetensors({name: WEIGHTS[name]}))
    index = {"weight_map": stored if weight_map is None else weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def adapter(
    folder: Path, tensors: Mapping[str, tuple[int, ...]] | None = None, **config: Any
) -> Path:
    """An adapter folder of rank 1 over the embedding's neighbour q_proj, or with these tensors."""
    folder.mkdir(parents=True)
    path = "base_model.model.model.layers.0.self_attn.q_proj"
    shapes = tensors or {f"{path}.lora_A.weight": (1, 2), f"{path}.lora_B.weight": (2, 1)}
    settings = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    weights = {}
    for name, shape in shapes.items():
        count = 1
        for side in shape:
            count *= side
        weights[name] = (shape, [0.5] * count)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(weights))
    return folder
