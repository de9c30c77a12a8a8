"""What the names of tensors tell: the layer that one belongs to, and which hold a row per token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Written so that each part can match in one way only: names are as untrusted as the files that hold them.
_NUMBERED = re.compile(r"(?P<prefix>(?:(?!\d+\.)[^.]+\.)*)(?P<layer>\d+)\.(?P<rest>.+)")
_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_INPUT_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings")
_OUTPUT_HEADS = ("lm_head", "embed_out")
# Buffers that old checkpoints carry; transformers computes them from the config.
_COMPUTED = "rotary_emb.inv_freq"


@dataclass(frozen=True)
class Layers:
    """How a checkpoint numbers its layers: PREFIX0.REST to PREFIX(count - 1).REST.

    Without a prefix, no layers could be told.
    """

    prefix: str | None
    count: int

    def split(self, name: str) -> tuple[int | None, str]:
        """(layer, rest of the name), or (None, name) for a tensor outside the layers."""
        match = _NUMBERED.fullmatch(name)
        if match is None or match["prefix"] != self.prefix or int(match["layer"]) >= self.count:
            return None, name
        return int(match["layer"]), match["rest"]

    def join(self, layer: int | None, rest: str) -> str:
        """The name that `split` would take apart."""
        return rest if layer is None else f"{self.prefix}{layer}.{rest}"


def layers_of(names: Iterable[str], config: Mapping[str, Any]) -> Layers:
    """The layers of a checkpoint: the prefix with most tensors that counts 0, 1, 2, ... to an end.

    Where config states a number of layers, the first that many; more (such as those for predicting
    several tokens) are tensors like any other.
    """
    found: Counter[str] = Counter()
    numbers: dict[str, set[int]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            found[match["prefix"]] += 1
            numbers.setdefault(match["prefix"], set()).add(int(match["layer"]))
    key = layer_count_key(config)
    for prefix, _ in found.most_common():
        count = config[key] if key else len(numbers[prefix])
        if 0 < count <= len(numbers[prefix]) and numbers[prefix].issuperset(range(count)):
            return Layers(prefix, count)
    return Layers(None, 0)


def layer_count_key(config: Mapping[str, Any]) -> str | None:
    """The key of config.json that states the number of layers."""
    return next((key for key in _LAYER_COUNTS if isinstance(config.get(key), int)), None)


def has_row_per_token(name: str) -> bool:
    """Whether the first dimension of the tensor counts tokens: embeddings, output head and its bias."""
    return is_input_embedding(name) or is_output_head(name)


def is_input_embedding(name: str) -> bool:
    """Whether it is the table of token embeddings."""
    return name.endswith(".weight") and _module(name) in _INPUT_EMBEDDINGS


def is_output_head(name: str) -> bool:
    """Whether it is the output head or its bias."""
    return _module(name) in _OUTPUT_HEADS


def is_before_layers(name: str) -> bool:
    """Whether a tensor outside the layers is applied before them (embeddings) rather than after."""
    return "embed" in name or _module(name) in ("wte", "wpe")


def is_computed(name: str) -> bool:
    """Whether it is no weight but a table that the model computes by itself."""
    return name.endswith(_COMPUTED)


def _module(name: str) -> str:
    return name.split(".")[-2] if "." in name else ""
