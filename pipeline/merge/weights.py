"""The weights of one opened source, adapter included: names, shapes, storage types, float32 values.

An adapter becomes an exact float32 difference per tensor as it is asked for; no adapted model is
ever formed. Tied embeddings stay tied: what an adapter does to the head, it does to the embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.merge.lora import lora_delta
from pipeline.merge.names import is_computed, is_input_embedding, is_output_head, layers_of
from pipeline.sources.adapter import Adapter
from pipeline.sources.reference import Reference
from pipeline.sources.source import Source


@dataclass(frozen=True)
class _Change:
    """What an adapter does to one tensor: first a replacement, then the sum of low-rank modules."""

    replacements: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


class Weights:
    """Read-only view of a source's tensors by name. Values are read anew at each call."""

    def __init__(self, reference: Reference, source: Source) -> None:
        self.reference, self.model, self._adapter = reference, source.model, source.adapter
        names = source.model.tensors
        self._embedding = next((n for n in names if is_input_embedding(n)), None)
        self.tensors = {name: info for name, info in names.items() if self._is_weight(name)}
        self.layers = layers_of(self.tensors, source.model.config)
        self._changes = self._adapter_changes(source.adapter) if source.adapter else {}

    def same_model(self, other: Weights) -> bool:
        """Whether both read the same checkpoint, apart from adapters."""
        return self.model.folder.resolve() == other.model.folder.resolve()

    def adapted(self, name: str) -> bool:
        """Whether the adapter changes this tensor."""
        return name in self._changes

    def strangers(self) -> list[str]:
        """Tensors that the adapter would change but the checkpoint does not have."""
        return sorted(name for name in self._changes if name not in self.tensors)

    def stored(self, name: str, dtype: torch.dtype | None) -> Tensor:
        """The checkpoint's own tensor as float32, rounded to `dtype` first; without the adapter."""
        tensor = self.model.read(name)
        return (tensor if dtype is None else tensor.to(dtype)).float()

    def delta(self, name: str, stored: Tensor) -> Tensor | None:
        """What the adapter adds to `stored`, float32 and of its shape; None where nothing.

        Raises InputError where the shapes do not fit, or tied tensors would part.
        """
        change = self._changes.get(name)
        if change is None or self._adapter is None:
            return None
        value = self._replaced(name, change, stored)
        total = value - stored
        for module in change.modules:
            delta = lora_delta(self._adapter, self._adapter.modules[module], value)
            self._fits(name, delta, stored)
            total += delta
        return total

    def _replaced(self, name: str, change: _Change, stored: Tensor) -> Tensor:
        assert self._adapter is not None
        value = stored
        for index, replacement in enumerate(change.replacements):
            new = self._adapter.read(replacement).float()
            self._fits(name, new, stored)
            if index and not torch.equal(new, value):
                raise InputError(
                    f"{self.reference}: the adapter saves two different tensors for {name}, "
                    "which embeddings and output head share. Untie them in the base, or train one."
                )
            value = new
        return value

    def _fits(self, name: str, change: Tensor, stored: Tensor) -> None:
        if change.shape != stored.shape:
            raise InputError(
                f"{self.reference}: the adapter's change of {name} has the shape "
                f"{list(change.shape)}, the base's tensor {list(stored.shape)}. "
                "It was trained on another base, or on one with added tokens."
            )

    def _is_weight(self, name: str) -> bool:
        """Whether it is stored for its own sake: not computed, not a copy of a tied embedding."""
        copy = self.model.tied and self._embedding and is_output_head(name)
        return not is_computed(name) and not (copy and name.endswith(".weight"))

    def _adapter_changes(self, adapter: Adapter) -> Mapping[str, _Change]:
        changes: dict[str, _Change] = {}
        for name, stored in {**adapter.replaced, **adapter.biases}.items():
            known = changes.get(self._shared(name), _Change())
            changes[self._shared(name)] = _Change((*known.replacements, stored), known.modules)
        for module in adapter.modules:
            name = self._shared(f"{module}.weight")
            known = changes.get(name, _Change())
            changes[name] = _Change(known.replacements, (*known.modules, module))
        return changes

    def _shared(self, name: str) -> str:
        """The tensor that `name` stands for: a tied head is the embedding table."""
        return name if self._is_weight(name) or not self._embedding else self._embedding
