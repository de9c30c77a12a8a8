"""adapter_config.json of a PEFT adapter, parsed once: what kind of LoRA it is, and how strong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.sources.folders import optional, read_object
from pipeline.sources.patterns import MAX_LENGTH, matcher

CONFIG = "adapter_config.json"
# Each of these changes what the stored tensors mean, so it is refused where it is set to anything
# but null, false or empty.
_UNSUPPORTED = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
# These rewrite the base's weights when the adapter is attached, so B A alone is not the change.
_REWRITING_INITS = ("pissa", "olora", "corda", "loftq", "lora_ga")
_MAX_PATTERNS = 10_000
_MAX_PATH, _MAX_NAME = 4_000, 255  # bytes, of every common file system


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """The part of the configuration that decides the change; defaults are PEFT's.

    rank_pattern and alpha_pattern map a regular expression, which must match the end of a module's
    path from a dot on, to the rank or alpha of that module; the first match wins, as in PEFT.
    """

    r: int
    lora_alpha: float
    use_rslora: bool
    use_dora: bool
    fan_in_fan_out: bool
    bias: str
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    modules_to_save: tuple[str, ...]
    base_model_name_or_path: str | None
    revision: str | None

    def rank(self, path: str) -> int:
        """The rank of the module at `path`."""
        return next((v for k, v in self.rank_pattern.items() if matcher(k)(path)), self.r)

    def alpha(self, path: str) -> float:
        """The alpha of the module at `path`."""
        return next((v for k, v in self.alpha_pattern.items() if matcher(k)(path)), self.lora_alpha)

    def scaling(self, path: str) -> float:
        """alpha / rank; with rsLoRA alpha / sqrt(rank) (Kalajdzievski 2023, arXiv 2312.03732)."""
        rank = self.rank(path)
        return self.alpha(path) / (math.sqrt(rank) if self.use_rslora else rank)


def read_adapter_config(folder: Path) -> tuple[AdapterConfig, dict[str, Any]]:
    """The typed configuration of the adapter in `folder`, and the whole of it as written.

    Raises InputError that lists every fault: another kind of adapter, an unsupported variant of
    LoRA, values out of range.
    """
    path = optional(folder, CONFIG)
    if path is None:
        raise InputError(f"{folder}: has no {CONFIG}. Give the folder of a PEFT adapter.")
    config = read_object(path, finite=False)  # each number that matters is checked below
    faults = [*_variants(config)]
    parsed = _parse(config, faults)
    if faults:
        raise InputError.of(f"{path}: {fault}" for fault in faults)
    return parsed, config


def _variants(config: Mapping[str, Any]) -> list[str]:
    """Why the stored tensors would mean something else than LoRA, rsLoRA or DoRA."""
    faults = [
        f"{key} is set ({config[key]!r:.60}); this variant of LoRA is not supported. "
        "Merge it into its base with PEFT's merge_and_unload, and name the result."
        for key in _UNSUPPORTED
        if config.get(key)
    ]
    if config.get("peft_type") != "LORA":
        faults.insert(
            0,
            f"peft_type is {config.get('peft_type')!r:.60}; it must be LORA (rsLoRA and DoRA are). "
            "Merge another kind into its base with PEFT's merge_and_unload, and name the result.",
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_REWRITING_INITS):
        faults.append(
            f"init_lora_weights is {start!r:.60}, which rewrites the base. "
            "Save the adapter with PEFT's path_initial_model_for_weight_conversion, "
            "which makes a plain LoRA of it."
        )
    return faults


def _parse(config: Mapping[str, Any], faults: list[str]) -> AdapterConfig:
    def read(key: str, default: Any, good: Any, must: str) -> Any:
        value = default if config.get(key) is None else config[key]
        if not good(value):
            faults.append(f"{key} is {value!r:.60}; it must be {must}.")
            return default
        return value

    def flag(key: str) -> bool:
        return bool(read(key, False, lambda value: isinstance(value, bool), "true or false"))

    ranks, alphas, words = (
        "a whole number above 0",
        "a number above 0",
        "text, as a path or hub id is",
    )
    patterns = f"regular expressions of up to {MAX_LENGTH} characters, without (?, each with"
    return AdapterConfig(
        r=read("r", 8, _rank, ranks),
        lora_alpha=read("lora_alpha", 8, _positive, alphas),
        use_rslora=flag("use_rslora"),
        use_dora=flag("use_dora"),
        fan_in_fan_out=flag("fan_in_fan_out"),
        bias=read(
            "bias", "none", ("none", "all", "lora_only").__contains__, "none, all or lora_only"
        ),
        rank_pattern=read("rank_pattern", {}, _pattern(_rank), f"{patterns} {ranks}"),
        alpha_pattern=read("alpha_pattern", {}, _pattern(_positive), f"{patterns} {alphas}"),
        modules_to_save=tuple(read("modules_to_save", [], _names, "a list of module names")),
        base_model_name_or_path=read("base_model_name_or_path", None, _text, words) or None,
        revision=read("revision", None, _text, words) or None,
    )


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value > 0


def _rank(value: Any) -> bool:
    return type(value) is int and value > 0


def _text(value: Any) -> bool:
    """Whether it is none, or text of a length that the path of a file may have."""
    if not isinstance(value, str):
        return value is None
    names = value.encode().split(b"/")
    return sum(map(len, names)) <= _MAX_PATH and max(map(len, names)) <= _MAX_NAME


def _names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _pattern(good: Any) -> Any:
    """A test for a mapping of regular expressions that can be matched to values that are `good`."""

    def test(value: Any) -> bool:
        if not isinstance(value, dict) or len(value) > _MAX_PATTERNS:
            return False
        try:
            return all(good(number) and matcher(key) for key, number in value.items())
        except ValueError:
            return False

    return test
