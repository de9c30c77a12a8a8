"""The tokenizer files of the output: those of one model, with the tokens that the recipe adds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.facts import write_json
from pipeline.merge.plan import Plan
from pipeline.merge.vocabulary import Vocabulary
from pipeline.sources.folders import optional, read_object

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def write_tokenizer(plan: Plan, folder: Path) -> None:
    """Write them into `folder`, the chat template among them; byte for byte where no token is new.

    A new token becomes an added token, as the model that has it describes it; one that is part of a
    model's own vocabulary there is matched as whole text here.
    """
    for path in plan.tokenizer.model.tokenizer_files:
        shutil.copyfile(path, folder / path.name)
    if plan.vocabulary and plan.vocabulary.new:
        _add_tokens(folder, plan.vocabulary, _described(plan))


def _add_tokens(
    folder: Path, vocabulary: Vocabulary, described: Mapping[str, Mapping[str, Any]]
) -> None:
    rows = {token: row for row, token in enumerate(vocabulary.tokens)}
    entries = [
        {
            "id": rows[token],
            "content": token,
            **dict.fromkeys(_FLAGS, False),
            **described.get(token, {}),
        }
        for token in vocabulary.new
    ]
    _edit(folder, "tokenizer.json", lambda c: {**c, "added_tokens": [*c["added_tokens"], *entries]})
    decoder = {str(e["id"]): {k: e[k] for k in ("content", *_FLAGS)} for e in entries}
    _edit(folder, "tokenizer_config.json", lambda c: _with(c, "added_tokens_decoder", decoder))
    _edit(folder, "added_tokens.json", lambda c: {**c, **{e["content"]: e["id"] for e in entries}})


def _with(content: dict[str, Any], key: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {**content, key: {**content[key], **more}} if key in content else content


def _edit(folder: Path, name: str, change: Any) -> None:
    path = optional(folder, name)
    if path:
        write_json(path, change(read_object(path)))


def _described(plan: Plan) -> dict[str, dict[str, Any]]:
    """How the first model that has it as an added token describes each: special, stripped, ..."""
    found: dict[str, dict[str, Any]] = {}
    for weights in plan.weights.values():
        path = optional(weights.model.folder, "tokenizer.json")
        for entry in (read_object(path).get("added_tokens") or []) if path else []:
            flags = {flag: entry[flag] for flag in _FLAGS if flag in entry}
            found.setdefault(entry["content"], flags)
    return found
