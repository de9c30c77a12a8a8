"""Checks on what a model is made of: architecture, shapes, adapters, values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compat_family import (
    blocking,
    copy,
    edit_config,
    edit_weights,
    finetuned,
    found,
    save_adapter,
    save_model,
)

EMBEDDING = "model.embed_tokens.weight"
Q = "model.layers.0.self_attn.q_proj"
A_NAME = f"base_model.model.{Q}.lora_A.weight"
B_NAME = f"base_model.model.{Q}.lora_B.weight"


def test_every_differing_field_is_named_with_both_values(base: Path, tmp_path: Path) -> None:
    wide = save_model(tmp_path / "wide", hidden_size=32, rms_norm_eps=1e-4)
    finding = found("architecture", base, wide)
    assert finding.status == "fail"
    assert "hidden_size is 32, in the base 16" in finding.message
    assert "rms_norm_eps is 0.0001, in the base 1e-06" in finding.message
    assert finding.message.startswith(f"{wide} differs in architecture from {base}")


def test_nested_fields_are_named_by_their_path(base: Path) -> None:
    rope = {"rope_type": "default", "rope_theta": 500000.0}
    other = edit_config(copy(base, "rope"), rope_parameters=rope)
    finding = found("architecture", base, other)
    assert "rope_parameters.rope_theta is 500000.0, in the base 10000.0" in finding.message


def test_defaults_that_one_release_writes_and_another_leaves_out_are_equal(base: Path) -> None:
    other = edit_config(copy(base, "older"), attention_bias=False, torch_dtype="float32")
    config = (other / "config.json").read_text().replace('"mlp_bias": false, ', "")
    (other / "config.json").write_text(config)
    assert found("architecture", base, other).status == "pass"


def test_an_unknown_architecture_is_compared_as_it_is_written(base: Path) -> None:
    one = edit_config(copy(base, "one"), model_type="of-tomorrow", depth=1)
    two = edit_config(copy(base, "two"), model_type="of-tomorrow", depth=2)
    assert "depth is 2, in the base 1" in found("architecture", one, two).message


def test_missing_extra_and_reshaped_tensors_are_named(base: Path) -> None:
    change = {"model.norm.weight": None, f"{Q}.weight": lambda w: w[:8]}
    finding = found("shapes", base, edit_weights(copy(base, "cut"), change))
    assert finding.status == "fail"
    assert "model.norm.weight is missing" in finding.message
    assert f"{Q}.weight is [8, 16], in the base [16, 16]" in finding.message
    finding = found("shapes", base.parent / "cut", base)
    assert "model.norm.weight is not in the base" in finding.message


def more_rows(base: Path) -> Path:
    longer = edit_weights(copy(base, "longer"), {EMBEDDING: lambda w: torch.cat([w, w[:3]])})
    return edit_config(longer, vocab_size=264)


def test_more_embedding_rows_fail_until_the_recipe_says_how_to_join_them(base: Path) -> None:
    longer = more_rows(base)
    assert {"architecture", "shapes"} <= set(blocking(base, longer))
    finding = found("shapes", base, longer)
    assert f"{EMBEDDING} is [264, 16], in the base [261, 16]" in finding.message
    assert "tokenizer_source: union or base" in finding.remedy
    for code in ("architecture", "shapes"):
        resolved = found(code, base, longer, tokenizer_source="base")
        assert resolved.status == "pass"
        assert "the recipe resolves it (tokenizer_source: base)" in resolved.message


def test_a_recipe_cannot_resolve_other_differences_by_its_tokenizer(base: Path) -> None:
    longer = edit_weights(more_rows(base), {"model.norm.weight": None})
    assert found("shapes", base, longer, tokenizer_source="base").status == "fail"


def test_depth_may_differ_only_where_the_recipe_stacks_layers(base: Path, tmp_path: Path) -> None:
    deep = save_model(tmp_path / "deep", num_hidden_layers=3)
    assert {"architecture", "shapes"} <= set(blocking(base, deep))
    slices = [
        {"sources": [{"model": str(base), "layer_range": [0, 2]}]},
        {"sources": [{"model": str(deep), "layer_range": [1, 3]}]},
    ]
    stacked = {"merge_method": "passthrough", "slices": slices}
    assert not {"architecture", "shapes"} & set(blocking(None, **stacked))


def test_an_adapter_that_fits_passes_and_says_what_it_changes(base: Path) -> None:
    finding = found("adapters", base, f"{base}+{base.parent / 'tone'}")
    assert (finding.status, "it changes 2 modules and 0 whole" in finding.message) == ("pass", True)


def test_targets_that_do_not_exist_are_named(base: Path, tmp_path: Path) -> None:
    deep = save_model(tmp_path / "deep", num_hidden_layers=3)
    lora = save_adapter(tmp_path / "deep-lora", deep)
    finding = found("adapters", base, f"{base}+{lora}")
    assert finding.status == "fail"
    assert "model.layers.2.self_attn.q_proj.weight does not exist" in finding.message


def test_a_change_of_another_shape_is_named(base: Path) -> None:
    file = "adapter_model.safetensors"
    tone = edit_weights(base.parent / "tone", {A_NAME: lambda a: a[:, :8]}, file)
    finding = found("adapters", base, f"{base}+{tone}")
    assert f"{Q} is [16, 16], its change [16, 8]" in finding.message


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"target_modules": ["k_proj"]}, "target_modules does not name it"),
        ({"target_modules": r"model\.layers\.\d+\.mlp\..*"}, "target_modules does not name it"),
        ({"exclude_modules": ["q_proj"]}, "exclude_modules names it"),
        ({"layers_to_transform": [7]}, "layers_to_transform does not name its layer"),
    ],
)
def test_weights_that_peft_would_leave_out_are_named(
    base: Path, settings: dict[str, object], why: str
) -> None:
    tone = edit_config(base.parent / "tone", "adapter_config.json", **settings)
    finding = found("adapters", base, f"{base}+{tone}")
    assert finding.status == "fail"
    assert f"{Q} has weights, but {why}" in finding.message


@pytest.mark.parametrize(
    "settings", [{"target_modules": "all-linear"}, {"layers_to_transform": []}]
)
def test_what_the_configuration_leaves_open_passes(base: Path, settings: dict[str, object]) -> None:
    tone = edit_config(base.parent / "tone", "adapter_config.json", **settings)
    assert found("adapters", base, f"{base}+{tone}").status == "pass"


def test_a_transposed_layer_wants_a_transposed_change(base: Path) -> None:
    tone, file = base.parent / "tone", "adapter_model.safetensors"
    edit_weights(tone, {A_NAME: lambda a: a[:, :8]}, file)
    edit_weights(base, {f"{Q}.weight": lambda w: w[:8]})
    edit_config(tone, "adapter_config.json", fan_in_fan_out=True)
    assert found("adapters", base, f"{base}+{tone}").status == "pass"
    edit_config(tone, "adapter_config.json", fan_in_fan_out=False)
    assert found("adapters", base, f"{base}+{tone}").status == "fail"


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT speaks of tied embeddings
def test_an_embedding_adapter_fits_by_tokens_and_width(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    settings = LoraConfig(r=2, target_modules=["embed_tokens", "q_proj"], use_dora=True)
    get_peft_model(model, settings).save_pretrained(tmp_path / "lora")
    finding = found("adapters", base, f"{base}+{tmp_path / 'lora'}")
    assert finding.status == "pass"
    assert "it changes 3 modules and 1 whole tensors" in finding.message


def test_a_magnitude_of_another_length_is_named(base: Path, tmp_path: Path) -> None:
    lora = save_adapter(tmp_path / "dora", base, use_dora=True)
    name = f"base_model.model.{Q}.lora_magnitude_vector"
    edit_weights(lora, {name: lambda m: m[:5]}, "adapter_model.safetensors")
    finding = found("adapters", base, f"{base}+{lora}")
    assert f"{Q} has 16 outputs, its magnitude another number" in finding.message


def test_a_head_that_is_tied_cannot_change_by_itself(base: Path, tmp_path: Path) -> None:
    untied = save_model(tmp_path / "untied", tie_word_embeddings=False)
    lora = save_adapter(tmp_path / "lora", untied, modules_to_save=["lm_head"])
    assert found("adapters", untied, f"{untied}+{lora}").status == "pass"
    finding = found("adapters", base, f"{base}+{lora}")
    assert "lm_head.weight is tied to the input embedding" in finding.message
    both = save_adapter(tmp_path / "both", untied, modules_to_save=["lm_head", "embed_tokens"])
    assert found("adapters", base, f"{base}+{both}").status == "pass"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_that_are_not_finite_are_counted_and_named(
    base: Path, bad: float, dtype: torch.dtype
) -> None:
    def spoil(weight: torch.Tensor) -> torch.Tensor:
        weight = weight.to(dtype)
        weight.view(-1)[[3, -1]] = bad
        return weight

    tuned = edit_weights(finetuned(base, "bad"), {f"{Q}.weight": spoil})
    finding = blocking(base, tuned)["values"]
    assert f"{Q}.weight has 2 values of 256 that are not finite" in finding.message


def test_values_are_read_in_pieces_and_the_last_one_counts(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.compat import values

    monkeypatch.setattr(values, "CHUNK_ELEMENTS", 7)

    def spoil(weight: torch.Tensor) -> torch.Tensor:
        weight[-1] = float("nan")
        return weight

    bad = edit_weights(finetuned(base, "bad"), {"model.norm.weight": spoil})
    assert "model.norm.weight has 1 values of 16" in blocking(base, bad)["values"].message


def test_a_nan_in_an_adapter_is_found(base: Path) -> None:
    tone = base.parent / "tone"
    edit_weights(tone, {B_NAME: lambda b: b * float("nan")}, "adapter_model.safetensors")
    assert "lora_B.weight has 32 values of 32" in blocking(base, f"{base}+{tone}")["values"].message


def test_quantized_weights_are_refused(base: Path) -> None:
    packed = {f"{Q}.weight": lambda w: (w * 9).to(torch.int8)}
    finding = blocking(base, edit_weights(copy(base, "int8"), packed))["values"]
    assert f"{Q}.weight is I8, which is not a floating-point weight" in finding.message
    assert "the float weights that a quantized model was made from" in finding.remedy
