"""Check `adapters`: what an adapter changes exists in the model under it, in the right shape."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.compat.registry import CompatFacts, Topic, check, listed
from pipeline.compat.shapes import VOCABULARY_ROWS
from pipeline.facts import Finding
from pipeline.sources import Adapter, AdapterModule, Checkpoint
from pipeline.sources.patterns import matcher

TOPIC = Topic("adapters", "Adapters fit the model under them")
_HEAD = "lm_head.weight"
_LAYER = re.compile(r".*\.[^.]*\.(\d+)\.")  # as PEFT finds the layer of a module


@check(TOPIC)
def adapters(facts: CompatFacts) -> list[Finding]:
    """One finding per source with an adapter, naming targets that do not exist or do not fit."""
    return [
        _fits(facts, name, source.adapter, source.model)
        for name, source in facts.sources.items()
        if source.adapter
    ]


def _fits(facts: CompatFacts, name: str, adapter: Adapter, model: Checkpoint) -> Finding:
    faults = [*_module_faults(adapter, model), *_whole_faults(facts, adapter, model)]
    targets = f"{len(adapter.modules)} modules and {len(adapter.replaced)} whole tensors"
    if not faults:
        return TOPIC.finding("pass", name, f"{name}: its adapter fits; it changes {targets}.")
    return TOPIC.finding(
        "fail",
        name,
        f"{name}: its adapter does not fit the model under it: {listed(faults)}.",
        observed=listed(faults, 20),
        required="targets that exist in the model, in its shapes",
        remedy="Name the adapter over the model that it was trained on.",
    )


def _module_faults(adapter: Adapter, model: Checkpoint) -> Iterator[str]:
    for path, module in adapter.modules.items():
        if why := _left_out(path, adapter.config):
            yield f"{path} has weights, but {why}, so PEFT leaves them out"
        weight = model.tensors.get(f"{path}.weight")
        if weight is None or _tied_head(f"{path}.weight", model):
            yield _absent(f"{path}.weight", model)
        elif weight.shape != (change := _change_shape(adapter, module)):
            yield f"{path} is {list(weight.shape)}, its change {list(change)}"
        elif module.magnitude and adapter.tensors[module.magnitude].elements != _b(adapter, module):
            yield f"{path} has {_b(adapter, module)} outputs, its magnitude another number"


def _left_out(path: str, config: Mapping[str, Any]) -> str:
    """Why the configuration does not put an adapter on this module; "" where it does, or may."""
    for key, wanted in (("target_modules", True), ("exclude_modules", False)):
        stated = config.get(key)
        if stated and stated != "all-linear" and _names(stated, path) is (not wanted):
            return f"{key} {'does not name' if wanted else 'names'} it"
    layers, layer = config.get("layers_to_transform"), _LAYER.match(path)
    listed = [layers] if isinstance(layers, int) else layers
    if layer and isinstance(listed, list) and listed and int(layer[1]) not in listed:
        return "layers_to_transform does not name its layer"
    return ""


def _names(stated: Any, path: str) -> bool | None:
    """Whether names (ends of paths) or a regular expression mean this module; None where that is not to be read."""
    if isinstance(stated, list):
        return any(path == name or path.endswith(f".{name}") for name in stated)
    try:
        return matcher(str(stated))(path)
    except ValueError:
        return None


def _whole_faults(facts: CompatFacts, adapter: Adapter, model: Checkpoint) -> Iterator[str]:
    embedding = next((t for t in adapter.replaced if _has_rows(t) and t != _HEAD), None)
    for target, stored in {**adapter.replaced, **adapter.biases}.items():
        # A tied head may be saved beside the embedding that it is; merging sees that both agree.
        shared = embedding if embedding and _tied_head(target, model) else target
        base, own = model.tensors.get(shared), adapter.tensors[stored].shape
        if base is None or _tied_head(shared, model):
            yield _absent(target, model)
        elif base.shape != own and not _resolved(facts, shared, base.shape, own):
            yield f"{target} is {list(base.shape)}, its replacement {list(own)}"


def _resolved(facts: CompatFacts, target: str, base: tuple[int, ...], own: tuple[int, ...]) -> bool:
    """Whether only the number of tokens differs, and the recipe says how they are joined."""
    return _has_rows(target) and base[1:] == own[1:] and bool(facts.resolves_vocabulary)


def _has_rows(target: str) -> bool:
    return VOCABULARY_ROWS.fullmatch(target) is not None


def _tied_head(target: str, model: Checkpoint) -> bool:
    return target == _HEAD and model.tied


def _absent(target: str, model: Checkpoint) -> str:
    if _tied_head(target, model):
        return f"{target} is tied to the input embedding, and cannot change by itself"
    return f"{target} does not exist"


def _change_shape(adapter: Adapter, module: AdapterModule) -> tuple[int, int]:
    """The shape of the module's change, as the weight is stored."""
    inner, outer = adapter.tensors[module.a].shape[1], _b(adapter, module)
    transposed = module.kind == "embedding" or adapter.fan_in_fan_out
    return (inner, outer) if transposed else (outer, inner)


def _b(adapter: Adapter, module: AdapterModule) -> int:
    """The rows of B: outputs of a linear layer, width of an embedding."""
    return adapter.tensors[module.b].shape[0]
