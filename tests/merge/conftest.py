"""Tiny Llama checkpoints and adapters, written as files without loading transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import LAYERS, ROWS, TEMPLATE, config, shapes, tokenizer
from torch import Tensor


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Tensor]]:
    """Write the model folder `name` and return its tensors; `changed` are added to the seeded ones."""
    monkeypatch.chdir(tmp_path)

    def write(
        name: str,
        seed: int = 0,
        *,
        rows: int = ROWS,
        layers: int = LAYERS,
        tied: bool = True,
        dtype: torch.dtype = torch.float32,
        tensors: Mapping[str, Tensor] | None = None,
        tokens: list[str] | None = None,
        **more: Any,
    ) -> dict[str, Tensor]:
        folder = tmp_path / name
        folder.mkdir()
        generator = torch.Generator().manual_seed(seed)
        made = {
            n: torch.randn(shape, generator=generator).mul_(0.1).to(dtype)
            for n, shape in shapes(rows, layers, tied).items()
        }
        made |= tensors or {}
        save_file(made, folder / "model.safetensors", {"format": "pt"})
        stated = {**config(rows, layers, tied, dtype), **more}
        (folder / "config.json").write_text(json.dumps(stated))
        (folder / "generation_config.json").write_text('{"eos_token_id": 2, "max_length": 40}')
        words = tokens or ["w0", "<s>", "</s>", *(f"w{i}" for i in range(3, rows))]
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer(words)))
        (folder / "tokenizer_config.json").write_text(
            '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}'
        )
        (folder / "chat_template.jinja").write_text(TEMPLATE)
        (folder / "LICENSE").write_text("Apache License, Version 2.0\n")
        return made

    return write


@pytest.fixture
def lora(tmp_path: Path) -> Callable[..., dict[str, Tensor]]:
    """Write the LoRA adapter folder `name` over linear modules and return its tensors."""

    def write(
        name: str, modules: Mapping[str, tuple[int, int]], seed: int = 0, r: int = 4, **more: Any
    ) -> dict[str, Tensor]:
        folder = tmp_path / name
        folder.mkdir()
        generator = torch.Generator().manual_seed(seed)
        made: dict[str, Tensor] = {}
        for module, (out, into) in modules.items():
            for part, shape in (("A", (r, into)), ("B", (out, r))):
                value = torch.randn(shape, generator=generator).mul_(0.1)
                made[f"base_model.model.{module}.lora_{part}.weight"] = value
        save_file(made, folder / "adapter_model.safetensors", {"format": "pt"})
        stated = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": "base",
            "r": r,
            "lora_alpha": 2 * r,
            "target_modules": sorted({module.rsplit(".", 1)[1] for module in modules}),
            **more,
        }
        (folder / "adapter_config.json").write_text(json.dumps(stated))
        return made

    return write
