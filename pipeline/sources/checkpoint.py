"""A Hugging Face checkpoint folder, opened read-only: its configuration and tensor headers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.sources.folders import existing_folder, member, optional, read_object, read_text
from pipeline.sources.tensors import TensorInfo, read_header, read_tensor

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
    "chat_template.json",
)
# Beside tokenizer and configuration, what a derived model must take along.
SIDE_PATTERNS = ("generation_config.json", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")
# transformers makes a list with an entry for each layer, label or class that a configuration counts.
_COUNTED = re.compile(r"num_(?!.*(token|param|sample))|layers?$")
_MAX_COUNT = 1_000_000
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Checkpoint:
    """A model folder. `tensors` is sorted by name; `config` is config.json as it was written."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read config.json and every safetensors header in `folder`.

        Raises InputError for a folder that is no checkpoint, holds only pickles, or asks for remote
        code, and CorruptArtifactError where index, files and headers contradict each other.
        """
        existing_folder(folder)
        config = read_config(folder)
        single = optional(folder, WEIGHTS)
        found = read_header(single) if single else _read_shards(folder)
        if not found:
            raise InputError(f"{folder}: its weights hold no tensor. Fetch or write them again.")
        tensors = {info.name: info for info in sorted(found, key=lambda info: info.name)}
        return cls(folder, config, tensors)

    def read(self, name: str) -> torch.Tensor:
        """The tensor `name` in its storage dtype.

        Raises InputError where the checkpoint has none of that name.
        """
        if name not in self.tensors:
            raise InputError(f"{self.folder}: has no tensor {name!r}.")
        return read_tensor(self.tensors[name])

    @cached_property
    def tokenizer_files(self) -> tuple[Path, ...]:
        """The files of TOKENIZER_FILES that the folder has, chat template included."""
        return tokenizer_files(self.folder)

    def side_files(self) -> tuple[Path, ...]:
        """Generation config, licence and notice: what a model derived from this one takes along."""
        found = {path for pattern in SIDE_PATTERNS for path in self.folder.glob(pattern)}
        return tuple(member(self.folder, path.name) for path in sorted(found) if path.is_file())

    @cached_property
    def generation_config(self) -> Mapping[str, Any] | None:
        """generation_config.json, or None."""
        path = optional(self.folder, "generation_config.json")
        return read_object(path) if path else None

    @cached_property
    def chat_template(self) -> str | None:
        """The Jinja text of the default chat template, or None."""
        return chat_template(self.folder)

    @property
    def tied(self) -> bool:
        """Whether the head is the input embedding: as config.json says, else if none is stored."""
        stated = self.config.get("tie_word_embeddings")
        return bool(stated) if stated is not None else "lm_head.weight" not in self.tensors

    @property
    def parameters(self) -> int:
        """The number of stored weights."""
        return sum(info.elements for info in self.tensors.values())


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a model folder. Raises InputError where it is missing or names code to run."""
    path = optional(folder, "config.json")
    if path is None:
        if (folder / "adapter_config.json").exists():
            raise InputError(
                f"{folder}: is an adapter, not a model. "
                f"Write BASE+{folder} to name it together with its base."
            )
        raise InputError(f"{folder}: has no config.json. Give the folder of a Hugging Face model.")
    config = read_object(path)
    tokenizer = optional(folder, "tokenizer_config.json")
    for file, content in ((path, config), (tokenizer, read_object(tokenizer) if tokenizer else {})):
        if "auto_map" in content:
            raise InputError(
                f"{file}: auto_map asks for code of the model's own to be run; "
                "mergegate runs none. If transformers knows the architecture itself, "
                "delete auto_map in a local copy of the folder and name that copy."
            )
    if faults := [f"{path}: {fault}" for fault in _counts(config)]:
        raise CorruptArtifactError("\n".join(faults[:8]))
    return config


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """The files of TOKENIZER_FILES that `folder` has, in that order."""
    return tuple(path for name in TOKENIZER_FILES if (path := optional(folder, name)))


def chat_template(folder: Path) -> str | None:
    """The default chat template: chat_template.jinja, else what the JSON files state."""
    if path := optional(folder, "chat_template.jinja"):
        return read_text(path)
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = optional(folder, name)
        stated = read_object(path).get("chat_template") if path else None
        if isinstance(stated, list):
            named = [t for t in stated if isinstance(t, dict) and t.get("name") == "default"]
            stated = named[-1].get("template") if named else None
        if isinstance(stated, str):
            return stated
    return None


def _read_shards(folder: Path) -> list[TensorInfo]:
    """Every tensor of every shard, where index and shards agree on what lies where."""
    stated = _weight_map(folder)
    found = [
        i for shard in sorted(set(stated.values())) for i in read_header(member(folder, shard))
    ]
    stored = {(info.name, info.file.name) for info in found}
    missing, extra = sorted(stated.items() - stored), sorted(stored - stated.items())
    faults = [
        f"{name!r:.200} is not in {shard}, where it should be." for name, shard in missing[:8]
    ]
    faults += [f"{name!r} in {shard} is not in the index." for name, shard in extra[:8]]
    if faults:
        raise CorruptArtifactError("\n".join(f"{folder / INDEX}: {fault}" for fault in faults[:8]))
    return found


def _weight_map(folder: Path) -> dict[str, str]:
    """The index: each tensor and the shard that holds it."""
    path = optional(folder, INDEX)
    if path is None:
        raise _no_weights(folder)
    weight_map = read_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CorruptArtifactError(f"{path}: has no weight_map. Fetch or write the folder again.")
    for tensor, shard in weight_map.items():
        if not isinstance(shard, str) or not shard.endswith(".safetensors"):
            raise CorruptArtifactError(
                f"{path}: {tensor!r:.200} lies in {shard!r:.80}; "
                "shards are *.safetensors files of the folder."
            )
    return weight_map


def _counts(config: Mapping[str, Any]) -> Iterator[str]:
    """A fault for each count in the configuration, or in one within it, that no model has."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _counts(value)
        elif isinstance(value, int) and abs(value) > _MAX_COUNT and _COUNTED.search(key):
            yield f"{key!r:.80} is {value:,}; it may be {_MAX_COUNT:,} at most. Correct it, or leave it out."


def _no_weights(folder: Path) -> InputError:
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in _PICKLES)
    if pickles:
        return InputError(
            f"{folder}: its weights are pickles ({', '.join(pickles[:3])}), "
            "which can run code when opened; mergegate opens safetensors only. "
            "Where you trust the files, load them with transformers in a sandbox and write them "
            "again with save_pretrained(OUT), then name OUT."
        )
    return InputError(
        f"{folder}: has neither {WEIGHTS} nor {INDEX}. "
        "Give the folder of a model saved as safetensors."
    )
