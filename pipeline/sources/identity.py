"""What a model is, besides its bytes: architecture, tokenizer, chat template, licence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.facts import digest_of
from pipeline.plain_yaml import load_document
from pipeline.sources.checkpoint import Checkpoint, chat_template
from pipeline.sources.folders import optional, read_object
from pipeline.sources.hub import is_named
from pipeline.sources.tokenizer import tokenizer_facts

_HEAD_CHARACTERS = 200_000
_MOST_BASES = 100
# Fields of config.json that leave shapes and forward pass alone. A field not listed here counts as
# architecture.
INCIDENTAL = frozenset(
    {
        "_attn_implementation",
        "_name_or_path",
        "attention_dropout",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "embd_pdrop",
        "eos_token_id",
        "finetuning_task",
        "hidden_dropout",
        "id2label",
        "initializer_range",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "resid_pdrop",
        "return_dict",
        "task_specific_params",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def architecture_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of config.json that decide the architecture: not INCIDENTAL, and not null."""
    return {k: v for k, v in sorted(config.items()) if k not in INCIDENTAL and v is not None}


def architecture_hash(checkpoint: Checkpoint) -> str:
    """SHA-256 over the architecture fields and the names and shapes of all tensors."""
    shapes = {name: list(info.shape) for name, info in checkpoint.tensors.items()}
    return digest_of({"config": architecture_fields(checkpoint.config), "tensors": shapes})


def tokenizer_hash(folder: Path) -> str | None:
    """SHA-256 over all of TokenizerFacts; None without a tokenizer."""
    facts = tokenizer_facts(folder)
    return digest_of(facts.to_json()) if facts else None


def chat_template_hash(folder: Path) -> str | None:
    """SHA-256 of the chat template's text; None without one."""
    text = chat_template(folder)
    return digest_of(text) if text is not None else None


def licence(folder: Path) -> str | None:
    """The hub's licence identifier, in lower case: as card or config.json state, or by its text."""
    return _from_card(folder) or _from_config(folder) or _from_text(folder)


def declared_bases(folder: Path) -> list[str]:
    """The hub ids that a model says it is or comes from: `_name_or_path` of its configuration, else its card's."""
    path = optional(folder, "config.json")
    named = read_object(path).get("_name_or_path") if path else None
    if is_named(named):
        return [str(named)]
    stated = card_metadata(folder).get("base_model")
    listed = stated if isinstance(stated, list) else [stated]
    return list(dict.fromkeys(str(one) for one in listed[:_MOST_BASES] if is_named(one)))


def card_metadata(folder: Path) -> dict[str, Any]:
    """The YAML front matter of README.md; empty where there is none or it is not a mapping."""
    lines = _head(folder, "README.md").split("\n")
    fences = [i for i, line in enumerate(lines) if line.rstrip() == "---"]
    if len(fences) < 2 or fences[0] != 0:
        return {}
    try:
        found = load_document("\n".join(lines[1 : fences[1]]), "README.md")
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _head(folder: Path, name: str) -> str:
    """The first characters of a text file; empty where there is none."""
    path = optional(folder, name)
    if path is None:
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_HEAD_CHARACTERS)


def _from_card(folder: Path) -> str | None:
    card = card_metadata(folder)
    stated = card.get("license")
    if isinstance(stated, list):
        stated = " and ".join(text[:80] for text in stated[:8] if isinstance(text, str))
    if stated == "other":
        stated = card.get("license_name") or stated
    return _identifier(stated)


def _from_config(folder: Path) -> str | None:
    path = optional(folder, "config.json")
    return _identifier(read_object(path).get("license")) if path else None


def _identifier(stated: Any) -> str | None:
    if not isinstance(stated, str):
        return None
    plain = "".join(c for c in stated[:200] if c.isprintable())  # it is shown on a terminal
    return plain.strip().lower()[:80] or None


# Words near the head of a licence's text, and the hub's identifier for it.
_TEXTS = (
    ("apache license version 2.0", "apache-2.0"),
    ("mit license", "mit"),
    ("permission is hereby granted free of charge", "mit"),
    ("llama 3.3 community license", "llama3.3"),
    ("llama 3.2 community license", "llama3.2"),
    ("llama 3.1 community license", "llama3.1"),
    ("meta llama 3 community license", "llama3"),
    ("llama 2 community license", "llama2"),
    ("gemma terms of use", "gemma"),
)


def _from_text(folder: Path) -> str | None:
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE"):
        head = " ".join(_head(folder, name).lower().replace(",", " ").split())
        for words, identifier in _TEXTS:
            if words in head[:4000]:
                return identifier
    return None
