"""Adapters: each stored tensor has one meaning, the one that PEFT gives it, or is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from source_files import adapter

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.sources import Adapter

Q = "model.layers.0.self_attn.q_proj"
STORED = f"base_model.model.{Q}"


def saved_by_peft(folder: Path, *, tied: bool = False, **settings: Any) -> tuple[Any, Adapter]:
    """A PEFT model over a tiny Llama, and its adapter as saved and opened again."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=16,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        attention_bias=True,
        tie_word_embeddings=tied,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(LlamaForCausalLM(config), LoraConfig(**settings))
        model.save_pretrained(folder)
    return model, Adapter.open(folder)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_rank_alpha_and_scaling_of_every_module_are_those_of_peft(
    tmp_path: Path, use_rslora: bool
) -> None:
    model, opened = saved_by_peft(
        tmp_path,
        r=4,
        lora_alpha=6,
        target_modules=["q_proj", "down_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2, "down_proj": 3},
        alpha_pattern={r"layers\.\d.self_attn.q_proj": 5},
        use_rslora=use_rslora,
    )
    assert len(opened.modules) == 4
    for path, module in opened.modules.items():
        layer = model.base_model.model.get_submodule(path)
        assert module.rank == layer.r["default"]
        assert module.scaling == pytest.approx(layer.scaling["default"], rel=1e-12)
        assert opened.read(module.a).equal(layer.lora_A["default"].weight)
        assert opened.read(module.b).equal(layer.lora_B["default"].weight)


def test_dora_and_embedding_modules_are_recognised(tmp_path: Path) -> None:
    model, opened = saved_by_peft(
        tmp_path, r=2, target_modules=["q_proj", "embed_tokens"], use_dora=True
    )
    embedding, linear = opened.modules["model.embed_tokens"], opened.modules[Q]
    assert (embedding.kind, linear.kind) == ("embedding", "linear")
    assert opened.tensors[embedding.a].shape == (2, 16)
    magnitude = model.base_model.model.get_submodule(Q).lora_magnitude_vector["default"].weight
    assert linear.magnitude
    assert opened.read(linear.magnitude).equal(magnitude)
    # PEFT saves the base's embedding along; it takes the place of the base's.
    assert set(opened.replaced) == {"model.embed_tokens.weight"}


def test_modules_to_save_replace_whole_tensors_of_the_base(tmp_path: Path) -> None:
    _, opened = saved_by_peft(
        tmp_path, r=2, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"]
    )
    assert set(opened.replaced) == {"lm_head.weight", "model.embed_tokens.weight"}
    assert opened.tensors[opened.replaced["lm_head.weight"]].shape == (16, 8)


@pytest.mark.parametrize(("bias", "count"), [("none", 0), ("lora_only", 2), ("all", 8)])
def test_trained_biases_replace_those_of_the_base(tmp_path: Path, bias: str, count: int) -> None:
    _, opened = saved_by_peft(tmp_path, r=2, target_modules=["q_proj"], bias=bias)
    assert len(opened.biases) == count
    assert f"{Q}.bias" in opened.biases or not count
    assert opened.replaced == {}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; it must be LORA"),
        ({"peft_type": None}, "peft_type is None; it must be LORA"),
        ({"lora_bias": True}, "lora_bias is set (True); this variant of LoRA is not supported"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"init_lora_weights": "pissa_niter_4"}, "which rewrites the base"),
        ({"r": 0}, "r is 0; it must be a whole number above 0"),
        ({"r": 2.5}, "r is 2.5"),
        ({"r": True}, "r is True"),
        ({"lora_alpha": "8"}, "lora_alpha is '8'; it must be a number above 0"),
        ({"lora_alpha": float("nan")}, "lora_alpha is nan"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"use_rslora": "yes"}, "use_rslora is 'yes'; it must be true or false"),
        ({"bias": "some"}, "bias is 'some'; it must be none, all or lora_only"),
        ({"bias": ["all"]}, "bias is ['all']"),
        ({"rank_pattern": ["q"]}, "rank_pattern is ['q']"),
        ({"rank_pattern": {"q": -1}}, "rank_pattern is {'q': -1}"),
        ({"alpha_pattern": {"(": 1}}, "alpha_pattern is {'(': 1}"),
        ({"modules_to_save": "lm_head"}, "modules_to_save is 'lm_head'; it must be a list"),
        ({"base_model_name_or_path": 3}, "base_model_name_or_path is 3; it must be text"),
    ],
)
def test_a_configuration_that_is_not_understood_is_refused(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        Adapter.open(adapter(tmp_path / "a", **config))
    assert words in str(caught.value)
    assert "adapter_config.json" in str(caught.value)


def test_all_faults_of_a_configuration_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Adapter.open(adapter(tmp_path / "a", r=0, lora_alpha=-1, use_qalora=True))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({f"{STORED}.lora_A.weight": (1, 2)}, f"module {Q} must have A and B"),
        (
            {f"{STORED}.lora_A.weight": (2, 2), f"{STORED}.lora_B.weight": (2, 2)},
            "for rank 1 they must be [1, in] and [out, 1]",
        ),
        (
            {f"{STORED}.lora_A.weight": (1,), f"{STORED}.lora_B.weight": (2, 1)},
            "for rank 1 they must be",
        ),
        (
            {
                f"{STORED}.lora_A.weight": (1, 2),
                f"{STORED}.lora_B.weight": (2, 1),
                f"{STORED}.lora_magnitude_vector": (2,),
            },
            "must have A and B, and no more",
        ),
        ({f"{STORED}.lora_E": (1, 2)}, "is of a kind that is not supported"),
        ({"model.norm.weight": (2,)}, "does not begin with 'base_model.model.'"),
        ({f"{STORED}.lora_B.bias": (2,)}, "is of a kind that is not supported"),
    ],
)
def test_a_tensor_without_a_meaning_is_refused(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], words: str
) -> None:
    with pytest.raises(CorruptArtifactError) as caught:
        Adapter.open(adapter(tmp_path / "a", tensors))
    assert words in str(caught.value)


def test_dora_without_its_magnitude_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifactError, match="must have A, B and a magnitude"):
        Adapter.open(adapter(tmp_path / "a", use_dora=True))


def test_an_adapter_in_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match="its weights are a pickle"):
        Adapter.open(folder)


def test_a_model_is_not_taken_for_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no adapter_config.json"):
        Adapter.open(tmp_path)


def test_the_stated_digest_of_the_base_is_read_and_checked(tmp_path: Path) -> None:
    folder = adapter(tmp_path / "a")
    assert Adapter.open(folder).base_model_digest is None
    (folder / "mergegate.json").write_text(json.dumps({"base_model_digest": "ab" * 32}))
    assert Adapter.open(folder).base_model_digest == "ab" * 32
    (folder / "mergegate.json").write_text(json.dumps({"base_model_digest": "main"}))
    with pytest.raises(CorruptArtifactError, match="must be a SHA-256 of 64 hex digits"):
        Adapter.open(folder)
