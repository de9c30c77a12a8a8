"""Any decoder whose tensors are named by layer: made from its transformers configuration, with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import run
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.sources import Checkpoint

COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {"num_key_value_heads": 2}
MIXTURE = {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": {**GROUPED, "tie_word_embeddings": True},
    "qwen3": {**GROUPED, "head_dim": 8},
    "mistral": {**GROUPED, "sliding_window": 16},
    "gemma2": {**GROUPED, "head_dim": 8, "tie_word_embeddings": True},
    "phi3": GROUPED,
    "gpt_neox": {},
    "mixtral": MIXTURE,
    "qwen3_moe": {
        **GROUPED,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
}


def model(family: str, seed: int, layers: int = 3) -> Any:
    torch.manual_seed(seed)
    settings = {**COMMON, **FAMILIES[family], "num_hidden_layers": layers}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).eval()


def logits(of: Any) -> torch.Tensor:
    with torch.no_grad():
        return of(torch.tensor([[1, 5, 9, 33, 60]])).logits


def load(folder: str) -> Any:
    loaded, found = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    return loaded.eval()


@pytest.fixture
def family(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`base`, and `x` and `y` near it, saved by transformers in the current folder."""
    monkeypatch.chdir(tmp_path)
    name: str = request.param
    base = model(name, 0)
    base.save_pretrained("base")
    for seed, folder in enumerate("xy", 1):
        generator = torch.Generator().manual_seed(seed)
        tuned = model(name, 0)
        with torch.no_grad():
            for weight in tuned.parameters():
                weight += 0.05 * torch.randn(weight.shape, generator=generator)
        tuned.save_pretrained(folder)
    return name


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_task_arithmetic_gives_the_model_of_the_summed_parameters(family: str) -> None:
    models = [{"model": m, "parameters": {"weight": w}} for m, w in (("x", 0.5), ("y", 0.25))]
    run(merge_method="task_arithmetic", base_model="base", models=models)
    expected, x, y = load("base"), load("x"), load("y")
    with torch.no_grad():
        for e, a, b in zip(expected.parameters(), x.parameters(), y.parameters(), strict=True):
            e += 0.5 * (a - e) + 0.25 * (b - e)
    torch.testing.assert_close(logits(load("out")), logits(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES, indirect=True)
def test_layers_are_found_and_can_be_stacked_with_repeats(family: str) -> None:
    slices = [
        {"sources": [{"model": "x", "layer_range": [0, 2]}]},
        {"sources": [{"model": "y", "layer_range": [1, 3]}]},
        {"sources": [{"model": "y", "layer_range": [2, 3]}]},
    ]
    run(merge_method="passthrough", slices=slices)
    stacked = load("out")
    assert stacked.config.num_hidden_layers == 5
    assert logits(stacked).isfinite().all()
    stored, y = Checkpoint.open(Path("out")), Checkpoint.open(Path("y"))
    last = [name for name in stored.tensors if ".4." in name]
    assert last
    for name in last:
        assert torch.equal(stored.read(name), y.read(name.replace(".4.", ".2.", 1))), name


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_neox"], indirect=True)
def test_a_gradient_reaches_from_the_first_layer_to_the_last(family: str) -> None:
    models = [
        {"model": "x", "parameters": {"weight": [1.0, 0.0]}},
        {"model": "y", "parameters": {"weight": [0.0, 1.0]}},
    ]
    run(merge_method="linear", models=models)
    out, x, y = (Checkpoint.open(Path(folder)) for folder in ("out", "x", "y"))
    for name in out.tensors:
        if ".0." in name.replace("experts.0.", "experts.n."):
            assert torch.equal(out.read(name), x.read(name)), name
        if "layers.2." in name:
            assert torch.equal(out.read(name), y.read(name)), name
