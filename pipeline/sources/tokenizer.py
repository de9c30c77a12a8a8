"""A tokenizer as facts, read from its files: all that decides the ids of a text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError
from pipeline.sources.folders import optional, read_object
from pipeline.sources.hashes import file_digest

_SPECIAL = (
    "bos_token",
    "eos_token",
    "unk_token",
    "pad_token",
    "sep_token",
    "cls_token",
    "mask_token",
)
_BARE = ("tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "vocab.txt")
# Of tokenizer.json, what splits and joins text around the vocabulary. Padding and truncation are a
# caller's choice.
_STEPS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


@dataclass(frozen=True)
class TokenizerFacts:
    """`vocabulary` and `added`: token -> id; `special`: role -> token; `steps`: how text is cut.

    For a tokenizer without tokenizer.json (SentencePiece, or vocab.json with merges.txt)
    vocabulary, merges and steps are empty, and `files` holds the SHA-256 of its files instead.
    """

    vocabulary: Mapping[str, int]
    merges: tuple[str, ...]
    special: Mapping[str, str]
    added: Mapping[str, int]
    steps: Mapping[str, Any]
    files: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON values, for a digest."""
        return asdict(self)


def tokenizer_facts(folder: Path) -> TokenizerFacts | None:
    """The tokenizer in `folder`, or None where there is none.

    Raises CorruptArtifactError where its files are not those of a tokenizer.
    """
    if path := optional(folder, "tokenizer.json"):
        try:
            return _from_json(read_object(path), _special(folder))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise CorruptArtifactError(
                f"{path}: is not a tokenizer ({type(error).__name__}: {error}). "
                "Save it again with transformers' save_pretrained."
            ) from None
    files = {name: file_digest(path) for name in _BARE if (path := optional(folder, name))}
    return TokenizerFacts({}, (), _special(folder), {}, {}, files) if files else None


def _from_json(content: Mapping[str, Any], special: Mapping[str, str]) -> TokenizerFacts:
    """The facts in tokenizer.json, in the format of the tokenizers library."""
    model = content["model"]
    return TokenizerFacts(
        vocabulary=_vocabulary(model["vocab"]),
        merges=tuple(m if isinstance(m, str) else " ".join(m) for m in model.get("merges") or ()),
        special=special,
        added={str(t["content"]): int(t["id"]) for t in content.get("added_tokens") or ()},
        steps={"type": model.get("type"), **{step: content.get(step) for step in _STEPS}},
        files={},
    )


def _vocabulary(stated: Any) -> dict[str, int]:
    """Token -> id, from a mapping (BPE) or a list of [token, score] in order of id (Unigram)."""
    if isinstance(stated, list):
        return {str(entry[0]): index for index, entry in enumerate(stated)}
    return {str(token): int(index) for token, index in stated.items()}


def _special(folder: Path) -> dict[str, str]:
    """Role -> token, from special_tokens_map.json, overridden by tokenizer_config.json."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        path = optional(folder, name)
        stated = read_object(path) if path else {}
        for role in _SPECIAL:
            token = stated.get(role)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                found[role] = token
    return found
