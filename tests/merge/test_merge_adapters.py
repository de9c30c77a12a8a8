"""Adapters against PEFT's own merge_and_unload of one adapter, in float32: the oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import HIDDEN, INNER, ROWS, merged, run, weights
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.changes import dora_delta

Write = Callable[..., dict[str, Tensor]]
LINEAR = ["q_proj", "v_proj", "down_proj"]
NORM = "model.norm.weight"


def gpt2(folder: Path) -> None:
    """A tiny GPT-2: its linear layers are stored [in, out]."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=40, n_positions=32)
    GPT2LMHeadModel(config).save_pretrained(folder)


def trained(base: str, name: str, **settings: Any) -> dict[str, Tensor]:
    """Save a PEFT adapter over `base` with all its weights random, and return PEFT's own fusion."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    network = AutoModelForCausalLM.from_pretrained(base)
    adapted = get_peft_model(network, LoraConfig(task_type="CAUSAL_LM", **settings))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    adapted.save_pretrained(name)
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), name)
    fused = again.merge_and_unload()
    return {key: value.detach() for key, value in fused.state_dict().items()}


def same(found: dict[str, Tensor], oracle: dict[str, Tensor]) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, oracle[name], rtol=2e-6, atol=2e-6, msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        {"r": 4, "lora_alpha": 8, "target_modules": LINEAR},
        {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "use_rslora": True},
        {"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "use_dora": True},
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": LINEAR,
            "use_dora": True,
            "use_rslora": True,
            "rank_pattern": {"v_proj": 2},
        },
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": LINEAR,
            "rank_pattern": {"q_proj": 2, r"layers\.1\.mlp\.down_proj": 6},
            "alpha_pattern": {"v_proj": 3},
        },
        {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": LINEAR,
            "modules_to_save": ["input_layernorm", "o_proj"],
        },
    ],
    ids=["lora", "rslora", "dora", "dora+rslora", "patterns", "modules_to_save"],
)
def test_an_adapter_over_llama_is_fused_as_peft_does(
    model: Write, settings: dict[str, Any]
) -> None:
    base = model("base")
    oracle = trained("base", "a", **settings)
    found = merged(merge_method="passthrough", models=["base+a"])
    same(found, oracle)
    assert any(not torch.equal(found[name], base[name]) for name in base)


@pytest.mark.parametrize("extra", [{}, {"use_dora": True}, {"use_rslora": True}, {"bias": "all"}])
def test_layers_stored_input_first_are_fused_as_peft_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    gpt2(Path("base"))
    targets = ["c_attn", "mlp.c_proj"]
    oracle = trained(
        "base", "a", r=3, lora_alpha=6, target_modules=targets, fan_in_fan_out=True, **extra
    )
    found = merged(merge_method="passthrough", models=["base+a"])
    same(found, oracle)
    before = weights("base")
    changed = {name for name in found if not torch.equal(found[name], before[name])}
    assert any(name.endswith(".bias") for name in changed) == ("bias" in extra)


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers")
@pytest.mark.parametrize("dora", [False, True])
def test_adapted_embeddings_are_fused_as_peft_does(model: Write, dora: bool) -> None:
    model("base", tied=False)
    targets = ["embed_tokens", "q_proj"]
    oracle = trained("base", "a", r=4, lora_alpha=8, target_modules=targets, use_dora=dora)
    same(merged(merge_method="passthrough", models=["base+a"]), oracle)


def test_a_saved_head_replaces_the_head_of_an_untied_model(model: Write) -> None:
    model("base", tied=False)
    oracle = trained("base", "a", r=4, target_modules=LINEAR, modules_to_save=["lm_head"])
    found = merged(merge_method="passthrough", models=["base+a"])
    same(found, oracle)
    assert not torch.equal(found["lm_head.weight"], weights("base")["lm_head.weight"])


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*save_embedding_layers")
@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_tied_embeddings_stay_tied_whichever_end_is_adapted(model: Write, target: str) -> None:
    from transformers import AutoModelForCausalLM

    base = model("base")
    oracle = trained("base", "a", r=4, lora_alpha=8, target_modules=[target])
    found = merged(merge_method="passthrough", models=["base+a"])
    name = "model.embed_tokens.weight"
    assert set(found) == set(base)
    assert not torch.equal(found[name], base[name])
    torch.testing.assert_close(found[name], oracle[name], rtol=2e-6, atol=2e-6)
    network = AutoModelForCausalLM.from_pretrained("out")
    assert network.get_input_embeddings().weight is network.get_output_embeddings().weight


def test_an_adapter_that_parts_tied_embeddings_is_refused(model: Write, lora: Write) -> None:
    model("base")
    tensors = lora("a", {"model.layers.0.self_attn.q_proj": (HIDDEN, HIDDEN)})
    for fill, module in enumerate(("model.embed_tokens", "lm_head")):
        tensors[f"base_model.model.{module}.weight"] = torch.full((ROWS, HIDDEN), float(fill))
    save_file(tensors, "a/adapter_model.safetensors")
    with pytest.raises(InputError, match=r"model\.embed_tokens.*two different tensors"):
        run(merge_method="passthrough", models=["base+a"])


def test_low_rank_changes_apply_to_what_the_adapter_saved_in_place_of_the_base(
    model: Write, lora: Write
) -> None:
    model("base")
    module = "model.layers.0.self_attn.q_proj"
    tensors = lora("a", {module: (HIDDEN, HIDDEN)})
    new = torch.ones(HIDDEN, HIDDEN)
    save_file(
        {**tensors, f"base_model.model.{module}.base_layer.weight": new},
        "a/adapter_model.safetensors",
    )
    found = merged(merge_method="passthrough", models=["base+a"])
    a, b = (tensors[f"base_model.model.{module}.lora_{part}.weight"] for part in "AB")
    torch.testing.assert_close(found[f"{module}.weight"], new + 2 * (b @ a))


def test_several_adapters_add_up_to_the_sum_of_their_own_deltas(model: Write) -> None:
    """No cross terms between the factors of one adapter and those of another."""
    base = model("base")
    kinds = {"a": {}, "b": {"use_rslora": True}, "c": {"use_dora": True}}
    oracles = {
        name: trained("base", name, r=2 + i, lora_alpha=4, target_modules=LINEAR, **more)
        for i, (name, more) in enumerate(kinds.items())
    }
    share = {"a": 0.2, "b": 0.6, "c": 0.4}
    found = merged(
        merge_method="task_arithmetic",
        base_model="base",
        models=[
            {"model": f"base+{name}", "parameters": {"weight": weight}}
            for name, weight in share.items()
        ],
    )
    for name, value in base.items():
        delta = sum(w * (oracles[a][name].double() - value.double()) for a, w in share.items())
        torch.testing.assert_close(found[name].double(), value + delta, rtol=3e-6, atol=3e-6)


def test_an_adapter_stored_in_bfloat16_is_computed_in_float32(model: Write, lora: Write) -> None:
    base = model("base")
    module = "model.layers.0.self_attn.q_proj"
    tensors = {k: v.bfloat16() for k, v in lora("a", {module: (HIDDEN, HIDDEN)}).items()}
    save_file(tensors, "a/adapter_model.safetensors")
    found = merged(merge_method="passthrough", models=["base+a"])
    a, b = (v.double() for v in load_file("a/adapter_model.safetensors").values())
    expected = base[f"{module}.weight"].double() + 2.0 * (b @ a)
    torch.testing.assert_close(found[f"{module}.weight"].double(), expected, rtol=1e-6, atol=1e-7)


def test_dora_by_hand() -> None:
    stored, delta = torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 4.0], [0.0, 0.0]])
    magnitude, norms = torch.tensor([[10.0], [7.0]]), torch.tensor([[5.0], [0.0]])
    change = dora_delta(stored, delta.clone(), magnitude, norms)
    # row 0 becomes 10 * (3, 4) / 5 = (6, 8); row 1 has no direction and stays zero
    assert change.tolist() == [[3.0, 8.0], [0.0, 0.0]]
    turned = dora_delta(stored.T, delta.T.clone(), magnitude.T, norms.T)
    assert torch.equal(turned, change.T)


def test_the_scaling_of_the_configuration_is_what_counts(model: Write, lora: Write) -> None:
    base = model("base")
    module = "model.layers.0.self_attn.q_proj"
    lora("a", {module: (HIDDEN, HIDDEN)})
    name = f"{module}.weight"
    deltas = {}
    for alpha in (4, 12):
        path = Path("a/adapter_config.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), "lora_alpha": alpha}))
        deltas[alpha] = (
            merged(f"o{alpha}", merge_method="passthrough", models=["base+a"])[name] - base[name]
        )
    torch.testing.assert_close(deltas[12], 3 * deltas[4], rtol=1e-4, atol=1e-6)


def test_several_adapters_on_one_source_add_up(model: Write, lora: Write) -> None:
    base = model("base")
    q, up = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"
    lora("a", {q: (HIDDEN, HIDDEN)}, seed=1)
    lora("b", {q: (HIDDEN, HIDDEN), up: (INNER, HIDDEN)}, seed=2)
    one = merged("o1", merge_method="passthrough", models=["base+a"])
    two = merged("o2", merge_method="passthrough", models=["base+b"])
    both = merged("o3", merge_method="passthrough", models=["base+a+b"])
    for name, weight in base.items():
        expected = one[name].double() + two[name].double() - weight.double()
        torch.testing.assert_close(both[name].double(), expected, rtol=0, atol=1e-6)
    assert not torch.equal(both[f"{up}.weight"], base[f"{up}.weight"])
