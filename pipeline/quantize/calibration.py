"""Calibration prompts as values and as a file, so that a quantization can be done again without its workspace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.evaluate.chat import messages, token_ids
from pipeline.facts import canonical_json, digest_of
from pipeline.files import read_file

CALIBRATION = "calibration.jsonl"
MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Calibration:
    """The conversations that a quantization is calibrated on, in order: one system prompt, many users."""

    system: str
    prompts: tuple[str, ...]

    @classmethod
    def of(cls, algorithm: str, system: str, prompts: Sequence[str]) -> Calibration:
        """What `algorithm` uses of the prompts: rounding to nearest uses none."""
        return cls(system, ()) if algorithm == "rtn" else cls(system, tuple(prompts))

    @property
    def text(self) -> str:
        """JSON Lines, a row `{"messages": [...]}` for each prompt; «» without prompts."""
        rows = ({"messages": messages(self.system, prompt)} for prompt in self.prompts)
        return "".join(canonical_json(row) + "\n" for row in rows)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of `text`, which is that of its file."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def ids(self, tokenizer: Any) -> list[list[int]]:
        """The token ids of each conversation. Raises InputError without a chat template."""
        return [token_ids(tokenizer, self.system, prompt) for prompt in self.prompts]

    def ids_digest(self, model: Path) -> str:
        """The SHA-256 of the token ids by the tokenizer in the folder `model`."""
        from transformers import AutoTokenizer

        return digest_of(self.ids(AutoTokenizer.from_pretrained(model)))


def read_calibration(path: Path) -> Calibration:
    """The calibration that a file holds; `read_calibration(f).text` is the content of `f`.

    Raises InputError where there is no such file, CorruptArtifactError where it is anything else
    than `Calibration.text` writes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file. It holds the calibration prompts of a release.")
    try:
        text = read_file(path, MAX_BYTES, "calibration prompts").decode("utf-8")
        rows = [json.loads(line)["messages"] for line in text.split("\n") if line]
        systems = {row[0]["content"] if len(row) == 2 else "" for row in rows}
        found = Calibration(
            systems.pop() if rows else "", tuple(row[-1]["content"] for row in rows)
        )
        sound = not systems and found.text == text and all(type(p) is str for p in found.prompts)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        sound = False
    if not sound:
        raise CorruptArtifactError(
            f"{path}: is no file of calibration prompts: a line for each, with its messages, "
            "the system prompt the same in all. Take it from the release again."
        )
    return found
