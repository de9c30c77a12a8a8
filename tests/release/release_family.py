"""A family small enough to build in a second: a base, two adapters over it, and what a gate says of their merge."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from pipeline.evaluate.table import Table
from pipeline.facts import read_json
from pipeline.release import Probe, Registered, register_merge, register_unmerged
from pipeline.release.changes import head

EXPERTS = {"tone": "models/base+models/tone", "json": "models/base+models/json"}
PROBE = Probe(system="", prompts={"tone": "hello", "json": "route it"}, max_new_tokens=4)
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
RECIPE = """\
# Two skills that hardly share a layer:
# a plain sum keeps both.
merge_method: task_arithmetic
base_model: models/base
models:
  - model: models/base+models/tone
    parameters: {weight: 0.5}
  - model: models/base+models/json
    parameters: {weight: 0.5}
"""
COMPARISON = Table(
    (("json", "exact"), ("tone", "rubric")),
    (
        ("base", (0.0, 1.0)),
        ("json", (0.97, None)),
        ("merged", (0.96, 4.9)),
        ("quantized", (0.95, 4.8)),
    ),
)
REASONS = {
    "promote": "json: 96 % against 97 % of json, at most 5 points worse",
    "reject": "json: 38 % against 97 % of json, 59 points worse, at most 5 allowed",
    "inconclusive": "json: 300 samples do not tell, about 900 would",
    "cannot judge": "json: json-lora has no scores",
}


def verdict(outcome: str = "promote", **changes: Any) -> dict[str, Any]:
    """A verdict on one skill, as gates.Verdict.to_json writes it."""
    shared = {"artifact": "merged", "check": "json", "outcome": outcome}
    row = {"kind": "skill", "metric": "exact", "n": 400, "margin": 0.05, "alpha": 0.05}
    return {
        "schema": 1,
        "outcome": outcome,
        "sentence": f"{outcome.capitalize()}: json.",
        "artifacts": ["merged"],
        "policy_digest": "b" * 64,
        "candidate_digests": {"merged": "c" * 64},
        "reasons": [{**shared, "text": REASONS[outcome], "waiver": ""}],
        "rows": [{**shared, **row}],
        "waivers": [],
        "judged_on": "",
        **changes,
    }


def register_target(uri: str, release: Path) -> int:
    """Register the unmerged set that a release folder names."""
    return register_unmerged(
        uri,
        "harbor",
        read_json(release / "release.json")["rollback"],
        base=Path("models/base"),
        experts={name: Path("models") / name for name in EXPERTS},
        probe=PROBE,
    )


def register_all(uri: str, release: Path) -> int:
    """Register the unmerged set and the merge of a release folder, as a release does."""
    target = register_target(uri, release)
    return register_shipped(uri, release, target).version


def register_shipped(uri: str, release: Path, target: int) -> Registered:
    """Register the merge of a release folder, begun beside the champion that is there now."""
    last = head(uri, "harbor")
    return register_merge(
        uri,
        "harbor",
        Path("shipped"),
        release,
        rollback_version=target,
        expected=last.number if last else None,
    )


def change_shipped_weights() -> None:
    """Other bytes in the folder that ships: what is registered from it then is another merge."""
    (Path("shipped") / "extra.json").write_text("{}", encoding="utf-8")


def build_base(folder: Path) -> Any:
    """Write a Llama of random weights with a byte-level tokenizer; returns the model."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<end>", pad_token="<end>", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=2,
        eos_token_id=0,
        pad_token_id=0,
        bos_token_id=None,
        **sizes,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


def build_adapter(base: Any, folder: Path, seed: int) -> None:
    """Write a LoRA adapter of random weights, large enough to change what the base answers."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=64, target_modules=["q_proj", "down_proj"])
    adapted = get_peft_model(copy.deepcopy(base), config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
