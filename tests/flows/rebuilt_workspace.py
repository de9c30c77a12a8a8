"""A workspace with a family small enough to merge and quantize in seconds, and the release made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stored_workspace import EXPERTS, evaluation, load, write_workspace

from pipeline.facts import write_evaluation, write_json, write_text
from pipeline.sources import Reference, artifact_digest, open_source, pin

WORDS = ("order", "ticket", "refund", "ship", "late", "warm", "cold", "yes", "no", "queue")
SPECIAL = ("<pad>", "<system>", "<user>", "<assistant>", "<end>", "<unk>")
TEMPLATE = "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}<assistant>"
HIDDEN, RANK = 64, 4


def write_family(folder: Path) -> None:
    """models/base, a Llama of one layer, and the adapters models/tone and models/json over it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        eos_token_id=4,
        pad_token_id=0,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "models" / "base")
    tokenizer.save_pretrained(folder / "models" / "base")
    for seed, name in enumerate(EXPERTS):
        _write_adapter(folder / "models" / name, seed)


def _write_adapter(folder: Path, seed: int) -> None:
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(seed)
    where = "base_model.model.model.layers.0.self_attn.q_proj"
    folder.mkdir(parents=True)
    save_file(
        {
            f"{where}.lora_A.weight": torch.randn(RANK, HIDDEN, generator=draw),
            f"{where}.lora_B.weight": torch.randn(HIDDEN, RANK, generator=draw) / 8,
        },
        folder / "adapter_model.safetensors",
    )
    facts = {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "target_modules": ["q_proj"]}
    facts |= {"base_model_name_or_path": "models/base", "task_type": "CAUSAL_LM"}
    write_json(folder / "adapter_config.json", facts)


def release(folder: Path, **quantize: Any) -> Path:
    """Write the family and its release below `folder`, by the real stages; the release folder.

    `quantize` are keys of params.yaml's section of that name. Only the scores are made up.
    """
    from pipeline.stages import card, gate, judge, merge
    from pipeline.stages import quantize as quantization

    write_workspace(folder)
    write_family(folder)
    _add_params(folder, quantize)
    ours, evals = folder / "build" / "tuned", folder / "build" / "evals"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        references = ("models/base", *EXPERTS.values())
        pins = {text: pin(open_source(Reference.parse(text))) for text in references}
        write_json(folder / "build" / "sources.json", {"pins": pins})
        write_json(ours / "compat.json", {"pins": pins, "findings": []})
        merge.run("tuned")
        named = {"base": "models/base", **EXPERTS}
        for name, text in named.items():
            write_evaluation(evals, evaluation(name, pins[text]["digest"]))
        write_evaluation(ours / "evals", evaluation("merged", artifact_digest(ours / "merged")))
        judge.run("tuned")
        (ours / "quantized" / "model.safetensors").unlink()
        quantization.run("tuned")
        shipped = artifact_digest(ours / "quantized")
        write_evaluation(ours / "evals", evaluation("quantized", shipped))
        gate.run("tuned")
        card.run("tuned")
    assert load(ours / "verdict.json")["outcome"] == "promote"
    return ours / "release"


def _add_params(folder: Path, quantize: dict[str, Any]) -> None:
    """A tune split with prompts, and how to quantize."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["evaluate"] |= {"golden": "data", "system": "warm"}
    params["evaluate"]["skills"]["json"]["task"] = "evals/json.yaml"
    params |= {"seed": 7, "quantize": {"calibration_samples": 4, **quantize}}
    write_text(path, yaml.safe_dump(params, sort_keys=False))
    rows = [{"id": f"json-{i}", "prompt": f"order {w}", "target": w} for i, w in enumerate(WORDS)]
    write_text(
        folder / "data" / "tune" / "json.jsonl", "".join(json.dumps(row) + "\n" for row in rows)
    )
