"""A PEFT LoRA adapter folder, opened read-only: which base tensors it changes, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline.errors import CorruptArtifactError, InputError
from pipeline.sources.adapter_config import AdapterConfig, read_adapter_config
from pipeline.sources.folders import existing_folder, member, optional, read_object
from pipeline.sources.tensors import TensorInfo, read_header, read_tensor

if TYPE_CHECKING:
    import torch

WEIGHTS = "adapter_model.safetensors"
# May lie beside an adapter, written by who trained it: {"base_model_digest": weights_digest(base)}.
STATEMENT = "mergegate.json"
_PREFIX = "base_model.model."
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PARTS = {
    ".lora_A.weight": ("linear", "a"),
    ".lora_B.weight": ("linear", "b"),
    ".lora_embedding_A": ("embedding", "a"),
    ".lora_embedding_B": ("embedding", "b"),
    ".lora_magnitude_vector": ("", "magnitude"),
    ".lora_magnitude_vector.weight": ("", "magnitude"),
}
Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True)
class AdapterModule:
    """The low-rank change of one module's weight W. a, b, magnitude are names of adapter tensors.

    linear: A is [rank, in], B is [out, rank]; the change is scaling * B A [out, in], transposed
    where the adapter says fan_in_fan_out.
    embedding: A is [rank, tokens], B is [width, rank]; the change is scaling * (B A) transposed,
    [tokens, width].
    magnitude: None, or DoRA's vector of B's rows, to which the rows of W + change are rescaled
    (Liu et al. 2024, arXiv 2402.09353, equation 5).
    """

    kind: Literal["linear", "embedding"]
    a: str
    b: str
    magnitude: str | None
    rank: int
    alpha: float
    scaling: float


@dataclass(frozen=True, kw_only=True)
class Adapter(AdapterConfig):
    """An adapter folder: its configuration, and what its tensors are.

    Module paths and base tensor names are those of the base's checkpoint. `replaced` and `biases`
    map a base tensor to the adapter tensor that takes its place as a whole (modules_to_save, an
    embedding saved along, a trained bias). Where a module is in `modules` as well, its low-rank
    change applies to the replacement, as in PEFT.
    """

    folder: Path
    config: Mapping[str, Any]  # adapter_config.json as it was written
    tensors: Tensors
    modules: Mapping[str, AdapterModule]
    replaced: Mapping[str, str]
    biases: Mapping[str, str]
    base_model_digest: str | None

    @classmethod
    def open(cls, folder: Path) -> Adapter:
        """Read the configuration and the header of the weights.

        Raises InputError for what is not a supported adapter in safetensors, CorruptArtifactError
        where configuration and tensors contradict each other.
        """
        existing_folder(folder)
        settings, config = read_adapter_config(folder)
        tensors = {info.name: info for info in read_header(_weights(folder))}
        modules, replaced, biases = _sort(folder, settings, tensors)
        return cls(
            **vars(settings),
            folder=folder,
            config=config,
            tensors=dict(sorted(tensors.items())),
            modules=modules,
            replaced=replaced,
            biases=biases,
            base_model_digest=_stated_digest(folder),
        )

    def read(self, name: str) -> torch.Tensor:
        """The adapter's tensor `name` in its storage dtype. Raises InputError where it has none."""
        if name not in self.tensors:
            raise InputError(f"{self.folder}: has no tensor {name!r}.")
        return read_tensor(self.tensors[name])


def _weights(folder: Path) -> Path:
    if (folder / WEIGHTS).exists():
        return member(folder, WEIGHTS)
    if (folder / "adapter_model.bin").exists():
        raise InputError(
            f"{folder}: its weights are a pickle (adapter_model.bin), "
            "which can run code when opened; mergegate opens safetensors only. "
            "Where you trust it, load it with PEFT in a sandbox and save_pretrained(OUT) again."
        )
    raise InputError(
        f"{folder}: has no {WEIGHTS}. Give the folder of an adapter saved as safetensors."
    )


def _stated_digest(folder: Path) -> str | None:
    path = optional(folder, STATEMENT)
    digest = read_object(path).get("base_model_digest") if path else None
    if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
        raise CorruptArtifactError(
            f"{path}: base_model_digest is {digest!r:.80}; it must be a SHA-256 of 64 hex digits. "
            "Write the weights_digest of the base, or leave the key out."
        )
    return digest


def _sort(
    folder: Path, settings: AdapterConfig, tensors: Tensors
) -> tuple[dict[str, AdapterModule], dict[str, str], dict[str, str]]:
    """Every stored tensor as a part of a module, a replacement or a bias, or else a fault."""
    parts: dict[str, dict[str, str]] = {}
    replaced: dict[str, str] = {}
    biases: dict[str, str] = {}
    faults = [] if tensors else ["it holds no tensor."]
    for name in sorted(tensors):
        path = name.removeprefix(_PREFIX).replace(".modules_to_save.", ".")
        ending = next((end for end in _PARTS if path.endswith(end)), None)
        whole = path.replace(".base_layer.", ".")
        kept = biases if path.endswith(".bias") and settings.bias != "none" else replaced
        if path == name:
            faults.append(f"tensor {name!r} does not begin with {_PREFIX!r}.")
        elif ending:
            kind, part = _PARTS[ending]
            found = parts.setdefault(path.removesuffix(ending), {"kind": kind})
            if part in found or kind not in ("", found["kind"] or kind):
                faults.append(f"tensor {name!r} says again, or otherwise, what its module does.")
            found |= {part: name, "kind": kind or found["kind"]}
        elif "lora_" in path or not path.endswith((".weight", ".bias")) or whole in kept:
            faults.append(f"tensor {name!r} is of a kind that is not supported.")
        else:
            kept[whole] = name
    modules = {
        path: _module(path, parts[path], settings, tensors, faults) for path in sorted(parts)
    }
    if faults:
        words = (f"{folder / WEIGHTS}: {fault}" for fault in faults[:8])
        raise CorruptArtifactError("\n".join(words))
    return {path: module for path, module in modules.items() if module}, replaced, biases


def _module(
    path: str,
    found: Mapping[str, str],
    settings: AdapterConfig,
    tensors: Tensors,
    faults: list[str],
) -> AdapterModule | None:
    """One module from its named parts, or None and a fault."""
    rank, dora = settings.rank(path), settings.use_dora
    if "a" not in found or "b" not in found or dora != ("magnitude" in found):
        wanted = "A, B and a magnitude, as use_dora is set" if dora else "A and B, and no more"
        faults.append(f"module {path} must have {wanted}.")
        return None
    a, b = tensors[found["a"]].shape, tensors[found["b"]].shape
    if len(a) != 2 or len(b) != 2 or a[0] != rank or b[1] != rank:
        faults.append(
            f"module {path} has A {list(a)} and B {list(b)}; "
            f"for rank {rank} they must be [{rank}, in] and [out, {rank}]."
        )
        return None
    return AdapterModule(
        kind="embedding" if found["kind"] == "embedding" else "linear",
        a=found["a"],
        b=found["b"],
        magnitude=found.get("magnitude"),
        rank=rank,
        alpha=settings.alpha(path),
        scaling=settings.scaling(path),
    )
