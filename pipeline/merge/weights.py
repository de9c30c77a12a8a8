"""The weights of one opened source, adapters included: names, shapes, storage types, what changes them.

Tied embeddings stay tied: what an adapter does to the head, it does to the embeddings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.merge.blocks import Grid
from pipeline.merge.changes import Change, Changes, Parts, Read, Stored, misfits
from pipeline.merge.names import is_computed, is_input_embedding, is_output_head, layers_of
from pipeline.sources.adapter import Adapter
from pipeline.sources.reference import Reference
from pipeline.sources.source import Source


class Weights:
    """Read-only view of a source's tensors by name; no values. `adapter` is None where there are several."""

    def __init__(self, reference: Reference, source: Source) -> None:
        self.reference, self.model = reference, source.model
        self.adapter = source.adapter if len(source.adapters) == 1 else None
        names = source.model.tensors
        self._embedding = next((n for n in names if is_input_embedding(n)), None)
        self.tensors = {name: info for name, info in names.items() if self._is_weight(name)}
        self.layers = layers_of(self.tensors, source.model.config)
        self._changes: dict[str, list[tuple[Adapter, Parts]]] = {}
        for adapter in source.adapters:
            for name, parts in self._adapter_changes(adapter).items():
                self._changes.setdefault(name, []).append((adapter, parts))

    def same_model(self, other: Weights) -> bool:
        """Whether both read the same checkpoint, apart from adapters."""
        return self.model.folder.resolve() == other.model.folder.resolve()

    def adapted(self, name: str) -> bool:
        """Whether an adapter changes this tensor."""
        return name in self._changes

    def adapter_faults(self) -> Iterator[str]:
        """Where an adapter does not fit the checkpoint: in words."""
        for name, changes in sorted(self._changes.items()):
            if name not in self.tensors:
                yield (
                    f"{self.reference}: the adapter changes {name}, which the model does not have. "
                    "It was trained on another base."
                )
                continue
            shape = self.tensors[name].shape
            for made_for in (
                m for adapter, parts in changes for _, m in misfits(adapter, parts, shape)
            ):
                yield (
                    f"{self.reference}: the adapter's change of {name} has the shape "
                    f"{list(made_for)}, the base's tensor {list(shape)}. "
                    "It was trained on another base, or on one with added tokens."
                )

    def change_bytes(self, name: str) -> int:
        """The memory that the factors of what adapters change of a tensor take, as float32."""
        return sum(
            4 * adapter.tensors[part].elements
            for adapter, parts in self._changes.get(name, ())
            for module in parts.modules
            for part in (adapter.modules[module].a, adapter.modules[module].b)
        )

    def change(self, name: str, stored: Stored, read: Read) -> Change | Changes | None:
        """What the adapters add to a tensor; None where nothing.

        `stored` gives rows of the checkpoint's own tensor, `read` rows of one of an adapter's.
        """
        if name not in self._changes:
            return None
        grid, where = Grid.of(self.tensors[name].shape), f"{self.reference}: {name}"
        changes = [
            Change(adapter, parts, grid, stored, read, where)
            for adapter, parts in self._changes[name]
        ]
        return changes[0] if len(changes) == 1 else Changes(changes)

    def _is_weight(self, name: str) -> bool:
        """Whether it is stored for its own sake: not computed, not a copy of a tied embedding."""
        copy = self.model.tied and self._embedding and is_output_head(name)
        return not is_computed(name) and not (copy and name.endswith(".weight"))

    def _adapter_changes(self, adapter: Adapter) -> Mapping[str, Parts]:
        changes: dict[str, Parts] = {}
        for name, stored in {**adapter.replaced, **adapter.biases}.items():
            known = changes.get(self._shared(name), Parts())
            changes[self._shared(name)] = Parts((*known.replacements, stored), known.modules)
        for module in adapter.modules:
            name = self._shared(f"{module}.weight")
            known = changes.get(name, Parts())
            changes[name] = Parts(known.replacements, (*known.modules, module))
        return changes

    def _shared(self, name: str) -> str:
        """The tensor that `name` stands for: a tied head is the embedding table."""
        return name if self._is_weight(name) or not self._embedding else self._embedding
