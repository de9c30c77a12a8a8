"""The part of a recipe that says how the output vocabulary is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pipeline.recipe.references import parse_reference
from pipeline.recipe.types import Tokenizer, TokenRow, TokenRule
from pipeline.sources.reference import Reference
from pipeline.strict import Fields, flag, mapping, one_of, text, whole

MAX_MULTIPLE = 65_536  # rows of padding, which a table must have room for
Origin = Literal["union", "base"] | Reference


def parse_tokenizer_source(top: Fields, base: Reference | None, faults: list[str]) -> Origin | None:
    """The value of `tokenizer_source`, or None."""
    top.seen.add("tokenizer_source")
    given = top.value.get("tokenizer_source")
    if given is None:
        return None
    return _origin(given, f"{top.where}.tokenizer_source", base, faults)


def parse_tokenizer(
    top: Fields, source: Origin | None, base: Reference | None, faults: list[str]
) -> Tokenizer | None:
    """The tokenizer settings in effect: from `tokenizer`, else what `tokenizer_source` stands for."""
    given = top.get("tokenizer", mapping, "a mapping with source, tokens, pad_to_multiple_of", None)
    if given is None:
        return Tokenizer(source, {}) if source else None
    if source:
        faults.append(
            f"{top.where}: has tokenizer_source and tokenizer; give one of them. "
            "tokenizer_source: X is short for tokenizer: {source: X}."
        )
    fields = Fields(given, f"{top.where}.tokenizer", faults)
    fields.seen.add("source")
    source_given = given.get("source")
    stated = "union" if source_given is None else source_given
    origin = _origin(stated, f"{fields.where}.source", base, faults)
    tokens = fields.get("tokens", mapping, "a mapping of tokens to their source", {}) or {}
    pad = fields.get(
        "pad_to_multiple_of",
        whole(1, MAX_MULTIPLE),
        f"a whole number from 1 to {MAX_MULTIPLE}",
        None,
    )
    fields.done()
    rules = {
        token: _rule(rule, f"{fields.where}.tokens[{token!r}]", faults)
        for token, rule in tokens.items()
    }
    return Tokenizer(origin, rules, pad) if origin else None


def _origin(value: Any, where: str, base: Reference | None, faults: list[str]) -> Origin | None:
    if value == "union":
        return "union"
    if value == "base":
        if base is None:
            faults.append(
                f"{where} is base, but the recipe has no base_model. Name a model instead."
            )
        return "base"
    return parse_reference(value, where, faults)


def _rule(value: Any, where: str, faults: list[str]) -> TokenRule:
    fields = Fields(value, where, faults)
    fields.seen.add("source")
    force = fields.get("force", flag, "true or false", False)
    row = _row(fields.value.get("source"), f"{where}.source", faults)
    fields.done()
    if force and row is None:
        faults.append(f"{where}.force is true, but no source is named. Add `source: REFERENCE`.")
    return TokenRule(row, bool(force))


def _row(value: Any, where: str, faults: list[str]) -> TokenRow | None:
    if value is None:
        return None
    if not (isinstance(value, Mapping) and "kind" in value):
        return TokenRow(parse_reference(value, where, faults))
    fields = Fields(value, where, faults)
    kind = fields.get("kind", one_of("zero", "model_token"), "zero or model_token")
    if kind == "model_token":
        row = _model_token(fields, faults)
        fields.done()
        return row
    fields.done()
    return TokenRow(None)


def _model_token(fields: Fields, faults: list[str]) -> TokenRow | None:
    fields.seen.update(("model", "token", "token_id"))
    given = [key for key in ("token", "token_id") if fields.value.get(key) is not None]
    model = parse_reference(fields.value.get("model"), f"{fields.where}.model", faults)
    if len(given) != 1:
        faults.append(f"{fields.where}: give exactly one of token and token_id.")
        return None
    parse, must = (text, "a token's text") if given == ["token"] else (whole(0), "an id, 0 or more")
    return TokenRow(model, fields.get(given[0], parse, must))
