"""All files of the output but its weights: configuration, tokenizer, chat template, licence."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.facts import write_json, write_text
from pipeline.merge.chat_templates import resolve_chat_template
from pipeline.merge.names import is_input_embedding, layer_count_key
from pipeline.merge.plan import FLOATS, Plan
from pipeline.merge.tokenizer_files import write_tokenizer
from pipeline.merge.vocabulary import Vocabulary

CHAT_TEMPLATE = "chat_template.jinja"


def write_side_files(plan: Plan, folder: Path) -> None:
    """Write them into `folder`. What the recipe does not change is the donor's, byte for byte."""
    donor = plan.donor.model
    for path in donor.side_files():
        shutil.copyfile(path, folder / path.name)
    write_json(folder / "config.json", output_config(plan))
    if donor.generation_config is not None and plan.vocabulary:
        write_json(
            folder / "generation_config.json",
            _token_ids(donor.generation_config, plan, plan.vocabulary),
        )
    write_tokenizer(plan, folder)
    template = resolve_chat_template(plan.recipe, plan.weights)
    if template is not None:
        _replace_template(folder, template)


def output_config(plan: Plan) -> dict[str, Any]:
    """config.json: the donor's, with the type, layers, vocabulary and token ids of the output."""
    config = dict(plan.donor.model.config)
    key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
    config[key] = _dtype(plan)
    config.pop("_name_or_path", None)  # a path of the machine where the donor was written
    if plan.recipe.stacked:
        config = _stacked(config, plan)
    rows = [step.shape[0] for step in plan.steps if is_input_embedding(step.name)]
    if rows and "vocab_size" in config:
        config["vocab_size"] = rows[0]
    return _token_ids(config, plan, plan.vocabulary) if plan.vocabulary else config


def _dtype(plan: Plan) -> str:
    """The type of most elements."""
    counts: Counter[str] = Counter()
    for step in plan.steps:
        if step.dtype in FLOATS:
            counts[FLOATS[step.dtype]] += step.spec.elements
    return counts.most_common(1)[0][0]


def _stacked(config: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """The number of layers, and lists with an entry per layer, as those of the output."""
    before = plan.donor.layers.count
    key = layer_count_key(config)
    for name, value in config.items():
        if isinstance(value, list) and "layer" in name and len(value) == before:
            config[name] = [value[layer] for layer in plan.layers]
    return config | ({key: len(plan.layers)} if key else {})


def _token_ids(stated: Mapping[str, Any], plan: Plan, vocabulary: Vocabulary) -> dict[str, Any]:
    """`stated` with its *_token_id as rows of the output vocabulary; an id without a row is dropped."""
    table = vocabulary.tables[plan.donor.reference]
    output = {token: row for row, token in enumerate(vocabulary.tokens)}
    moved = {row: output[token] for token, row in table.items() if token in output}
    result = dict(stated)
    for key, value in stated.items():
        if not key.endswith("_token_id"):
            continue
        if isinstance(value, list):
            result[key] = [moved[i] for i in value if i in moved]
        elif isinstance(value, int):
            result[key] = moved.get(value)
    return result


def _replace_template(folder: Path, template: str) -> None:
    """Leave one template only: tokenizer files may state another."""
    from pipeline.sources.folders import optional, read_object

    write_text(folder / CHAT_TEMPLATE, template)
    (folder / "chat_template.json").unlink(missing_ok=True)
    path = optional(folder, "tokenizer_config.json")
    if path and "chat_template" in (config := read_object(path)):
        del config["chat_template"]
        write_json(path, config)
