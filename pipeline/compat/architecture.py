"""Check `architecture`: sources have the base's architecture, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.compat.registry import CompatFacts, Topic, check, listed
from pipeline.facts import Finding
from pipeline.sources import Checkpoint
from pipeline.sources.identity import architecture_fields

TOPIC = Topic("architecture", "Sources have one architecture")
# Of these, one entry belongs to each layer; recipes with slices take layers from models of any
# depth.
_DEPTH = ("num_hidden_layers", "n_layer", "layer_types", "max_window_layers")

_REMEDY = "Merge models of one architecture: take fine-tunes of this base, or leave it out."
_VOCABULARY_REMEDY = (
    "Say in the recipe how the vocabularies are joined: tokenizer_source: union or base."
)


@check(TOPIC)
def architecture(facts: CompatFacts) -> list[Finding]:
    """One finding per source, naming every differing field of config.json with both values."""
    return [_compare(facts, name, source.model) for name, source in facts.others()]


def _compare(facts: CompatFacts, name: str, model: Checkpoint) -> Finding:
    if facts.is_base(model):
        return TOPIC.finding("pass", name, f"{name} lies on the base itself.")
    theirs, ours = _fields(model.config, facts.base_model.config)
    differing = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
    if facts.recipe.stacked:
        differing = [key for key in differing if key.split(".")[0] not in _DEPTH]
    resolved = differing == ["vocab_size"] and facts.resolves_vocabulary
    if not differing:
        return TOPIC.finding("pass", name, f"{name} has the architecture of {facts.base}.")
    words = [f"{k} is {_shown(theirs, k)}, in the base {_shown(ours, k)}" for k in differing]
    if resolved:
        return TOPIC.resolved(name, f"{name}: {words[0]}", facts.resolves_vocabulary)
    return TOPIC.finding(
        "fail",
        name,
        f"{name} differs in architecture from {facts.base}: {listed(words, 12)}.",
        observed=listed([f"{key}={_shown(theirs, key)}" for key in differing], 12),
        required=listed([f"{key}={_shown(ours, key)}" for key in differing], 12),
        remedy=_VOCABULARY_REMEDY if differing == ["vocab_size"] else _REMEDY,
    )


def _fields(*configs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The architecture's fields of each, nested ones under dotted names, defaults filled in."""
    written = [architecture_fields(config) for config in configs]
    if any(fields != written[0] for fields in written):  # else spare the import of transformers
        written = [architecture_fields(_with_defaults(config)) for config in configs]
    return [dict(_flat("", fields)) for fields in written]


def _with_defaults(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`config` as transformers reads it: releases differ in which defaults they write out.

    Where transformers does not know the type, or refuses the content, as it is written.
    """
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as known

    # Configurations of other kinds may look for parts of theirs on the hub.
    texts = (
        known.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        known.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )
    try:
        if not any(config["model_type"] in names for names in texts):
            return config
        return CONFIG_MAPPING[config["model_type"]].from_dict(dict(config)).to_dict()
    except Exception:  # any: the content is untrusted, and each class checks it in its own way
        return config


def _flat(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        parts = [_flat(f"{prefix}.{key}" if prefix else str(key), v) for key, v in value.items()]
        return [pair for part in parts for pair in part]
    return [(prefix, value)]


def _shown(fields: Mapping[str, Any], key: str) -> str:
    if key not in fields:
        return "missing"
    text = str(fields[key])
    return text if len(text) <= 60 else f"{text[:57]}..."
